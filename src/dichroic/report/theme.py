"""How figures look: small vector panels that follow the page's colours, light or dark, and text in the page's font.

Lines are drawn in stand-in colours, which become CSS variables when a panel enters the page. A panel is as wide as a
phone's screen; figures of several panels are laid out by the page, not inside one large picture.
"""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from typing import Any

__all__ = ["GRID", "INK", "MUTED", "Figure", "colour", "dots", "panel"]

INK, MUTED, GRID = "#010203", "#040506", "#070809"
_SERIES = [f"#0a0b{i:02x}" for i in range(6)]
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", **{c: f"--s{i}" for i, c in enumerate(_SERIES)}}

_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10.5,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.formatter.limits": (-3, 4),
    "axes.formatter.useoffset": False,
    "figure.facecolor": "none",
    "font.size": 10.5,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.fontsize": 10.5,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.borderpad": 0.1,
    "legend.columnspacing": 1.2,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "path.simplify_threshold": 0.3,
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 10,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 10,
}


@dataclass(frozen=True)
class Figure:
    """Something to look at, with a title and one sentence that says what is shown and what good looks like."""

    body: str
    caption: str = ""
    title: str = ""


def colour(number: int) -> str:
    """The stand-in for the page's series colour of that number."""
    return _SERIES[number % len(_SERIES)]


def panel(draw: Callable[[Any], None], label: str, width: int = 360, height: int = 230, legend: bool = False) -> str:
    """An inline SVG of one set of axes.

    **Arguments:** `draw(axes)`; `label`, what a screen reader says; `legend`, whether to put one above the axes.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": label}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a panel without a finite value is an empty panel, not an error
        canvas = Canvas(figsize=(width / 72, height / 72), layout="constrained")
        axes = canvas.add_subplot()
        draw(axes)
        handles, names = axes.get_legend_handles_labels()
        if legend and handles:
            columns = max(1, min(3, len(names), int(width / (34 + 5.6 * max(map(len, names))))))
            columns = 2 if columns == 3 and len(names) == 4 else columns
            canvas.legend(handles, names, loc="outside upper left", ncols=columns)
        text = StringIO()
        FigureCanvasSVG(canvas).print_svg(text)  # savefig would draw everything twice
    return _inline(text.getvalue(), label, width, height)


def dots(axes: Any, x: Any, y: Any, color: str, size: float = 2.5, label: str | None = None) -> None:
    """A scatter as a single path of round dots: a tenth of the size of one mark per point."""
    import numpy as np
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    points = np.stack([np.ravel(x), np.ravel(y)], 1).astype(float)
    points = points[np.isfinite(points).all(1)]
    if label is not None:
        axes.plot([], [], "o", color=color, markersize=max(size, 4), label=label)
    if not len(points):
        return
    path = Path(np.repeat(points, 2, axis=0), [Path.MOVETO, Path.LINETO] * len(points))
    path.should_simplify = False
    axes.add_patch(PathPatch(path, fill=False, edgecolor=color, linewidth=size, capstyle="round"))
    axes.update_datalim(points)
    axes.autoscale_view()


def _inline(svg: str, label: str, width: int, height: int) -> str:
    """The drawing without what only a file needs (prolog, metadata, names of groups), in the page's colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.S)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, f"var({variable})")
    body = svg[svg.index(">") + 1 :]
    safe = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    size = f'viewBox="0 0 {width} {height}" style="max-width:{width}px"'
    head = f'<svg class="panel" role="img" aria-label="{safe}" {size}>'
    return re.sub(r">\s+<", "><", head + body.strip())
