"""Which input group the base path reads: the one rule that training, golden model and compiler share."""

from __future__ import annotations

__all__ = ["BRANCHES", "base_input_group"]

#: The two branches of contrastive dual gating.
BRANCHES = (1, 2)


def base_input_group(output_group: int, groups: int, branch: int) -> int:
    """Return the input group that the base path of an output group reads.

    Branch 1 takes the diagonal, ``output_group``; branch 2 the inverse diagonal, ``groups - 1 - output_group``
    (Contrastive Dual Gating, CVPR 2022).

    Raises
    ------
    ValueError
        If there is no such branch.
    """
    if branch not in BRANCHES:
        raise ValueError(f"branch must be 1 or 2, not {branch}")
    return output_group if branch == 1 else groups - 1 - output_group
