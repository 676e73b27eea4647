"""What can go wrong in a way that one line tells: the kinds of it, and the exit status that goes with each."""

from __future__ import annotations

__all__ = [
    "CdgateError",
    "CheckpointError",
    "CompileError",
    "DataError",
    "ImageError",
    "RunError",
    "UsageError",
    "UserError",
]


class CdgateError(Exception):
    """An error whose message is one line that says what is wrong, where, and what is allowed.

    Attributes
    ----------
    status
        Exit status of a command that ends with it.
    """

    status = 1


class UserError(CdgateError, ValueError):
    """Bad input or a missing tool."""

    status = 2


class UsageError(UserError):
    """An option's value is not allowed."""


class CheckpointError(UserError):
    """A checkpoint that is no checkpoint, or not a valid one."""


class CompileError(UserError):
    """A layer that the engine cannot compute; the message names the layer and the rule."""


class DataError(UserError):
    """Data that cannot be had; the message says what is needed and where to get it."""


class ImageError(UserError):
    """An image that cannot be read."""


class RunError(CdgateError, RuntimeError):
    """Good input, but the run failed: a simulator that ends, a loss that is not finite."""
