"""Attributes by which Yosys is told what it cannot know."""

__all__ = ["KEEP", "NO_COLLISION"]

#: Attribute of a memory whose data are never used where the same bits were written in the cycle of the read. Without it
#: Yosys surrounds each block RAM with logic for the old data.
NO_COLLISION = {"no_rw_check": 1}


#: Attribute of a register that has its like elsewhere and is near what it drives. Yosys makes one of equal registers.
KEEP = {"keep": 1}
