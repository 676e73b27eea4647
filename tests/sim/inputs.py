"""Files that a simulation reads, for the tests of what its report says of them."""

import hashlib


class Inputs:
    """A checkpoint and a Verilog file of a test's own, which may be replaced while a simulation runs.

    Parameters
    ----------
    folder
        Where they are made.
    checkpoint
        File that the checkpoint is copied from.
    """

    def __init__(self, folder, checkpoint):
        self.folder = folder
        self.verilog, self.checkpoint = folder / "engine.v", folder / "copy.safetensors"
        self.verilog.write_text("old Verilog")
        self.checkpoint.write_bytes(checkpoint.read_bytes())

    def digests(self):
        """Return the digests of both, by their names in a report."""
        return {
            f"{name}_sha256": hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in (("verilog", self.verilog), ("checkpoint", self.checkpoint))
        }

    def replaced_during(self, execute):
        """Return `execute` so that both are replaced while it runs; what is mapped into memory stays."""

        def changed(*args):
            for path in (self.verilog, self.checkpoint):
                path.with_suffix(".new").write_bytes(b"another one")
                path.with_suffix(".new").replace(path)
            return execute(*args)

        return changed
