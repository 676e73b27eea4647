"""The look of this package's pictures: colours, and settings of matplotlib.

Colours are matplotlib's cividis, which reads the same in grey and for the colour-blind; where areas meet, hatching
tells them apart as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.patches import Patch

__all__ = ["BASE", "CONDITIONAL", "IDLE", "STYLE", "key"]

#: Colours of the bars: dark, middle and light, of which the last two are hatched, too.
BASE, CONDITIONAL, IDLE = "#00224e", "#9b9476", "#fee838"

#: Settings of matplotlib for all pictures.
STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "hatch.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.dpi": 150,
}


def key(label: str, **look: Any) -> Patch:
    """Return the field of a legend that has the look of a bar."""
    from matplotlib.patches import Patch

    return Patch(label=label, **look)
