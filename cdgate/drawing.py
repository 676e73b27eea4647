"""How all pictures of this project are drawn: by matplotlib's Agg, whatever the surroundings say of a display.

Nothing of pyplot is used and no setting of matplotlib stays changed, so that a notebook's own plots look as they did.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cdgate.files import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["drawing", "new_figure", "save"]


def _load_matplotlib() -> None:
    """Import matplotlib, which refuses to be imported where ``MPLBACKEND`` names a backend that is not installed.

    A notebook sets the variable for all programs that it starts. Where the backend is installed it is what the caller's
    own plots get, as if this had not been the first import.
    """
    if "matplotlib" in sys.modules:
        return
    wanted = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if wanted is not None:
            os.environ["MPLBACKEND"] = wanted
    if wanted:
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = wanted


@contextlib.contextmanager
def drawing(style: Mapping[str, Any]) -> Iterator[None]:
    """Draw and save, in the block, with matplotlib's own settings and those of `style`, not with the user's."""
    _load_matplotlib()
    import matplotlib.style

    with matplotlib.style.context(dict(style), after_reset=True):
        yield


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Return an empty figure, of a size in inches; matplotlib finds the places of its parts, or the caller does."""
    _load_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all, and return its path; `UserError` if it cannot be written."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_file(path, buffer.getvalue())
    return path
