"""What a caller can have done wrong: errors whose message is one line that names what is wrong and what is allowed."""

from __future__ import annotations

__all__ = ["CompileError", "UserError"]


class UserError(ValueError):
    """Bad input or a missing tool: the message is one line that names what is wrong and what is allowed."""


class CompileError(UserError):
    """A layer that the engine cannot compute; the message is one line with the layer, the rule and what is allowed."""
