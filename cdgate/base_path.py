"""Which input group the base path reads: the one rule that golden model and compiler share."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["BRANCHES", "base_input_groups"]

#: The two branches of contrastive dual gating.
BRANCHES = (1, 2)


def base_input_groups(groups: int, branch: int, chosen: Sequence[int] = ()) -> tuple[int, ...]:
    """Return the input group that the base path of each output group reads.

    Parameters
    ----------
    groups
        G.
    branch
        1 takes the diagonal: output group i reads input group i. 2 takes the inverse diagonal, ``G - 1 - i``
        (Contrastive Dual Gating, CVPR 2022).
    chosen
        If not empty, the groups themselves, any of them: as where the branches overlap, or all alike, as in channel
        gating without groups, whose output channels share their base path.

    Raises
    ------
    ValueError
        If there is no such branch, or the chosen groups are not as many as there are, of those that there are.
    """
    if branch not in BRANCHES:
        raise ValueError(f"branch must be 1 or 2, not {branch}")
    if not chosen:
        return tuple(range(groups) if branch == 1 else reversed(range(groups)))
    if len(chosen) != groups or not all(0 <= group < groups for group in chosen):
        raise ValueError(f"base groups must be {groups} numbers of 0 to {groups - 1}, not {list(chosen)}")
    return tuple(chosen)
