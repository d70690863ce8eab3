"""How figures look: sizes, colours that everybody can tell apart, dots with intervals."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # matplotlib takes half a second, which only drawing needs
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, RED, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#B5598C", "#808080"
"""After Okabe and Ito (Color Universal Design, 2008); 3 : 1 at least on white and on #111."""
REAL, FAKE = BLUE, RED
WIDTH, HEIGHT = 5.0, 3.6
"""Inches. Letters of 11 points are read well where that is 330 pixels wide."""
LONGEST = 26
"""Letters of a name on an axis."""
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of data may hold dollar signs
    "axes.unicode_minus": True,
}


class Dot(NamedTuple):
    """A value with its interval (`None`: not known), and a name."""

    name: str
    value: float
    low: float | None
    high: float | None
    beside: float | None = None
    """A second value on the same line: the null model's."""


@contextmanager
def use_style() -> Iterator[None]:
    """Figures that are made and saved inside look alike."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        yield


def build_figure(height: float = HEIGHT, width: float = WIDTH) -> "Figure":
    """An empty figure, in inches, whose parts keep clear of each other."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine())


def cut(name: str, longest: int = LONGEST) -> str:
    """A name that fits: its middle left out."""
    plain = " ".join(name.split())
    if len(plain) <= longest:
        return plain
    half = (longest - 1) // 2
    return f"{plain[: longest - 1 - half]}…{plain[-half:]}"


def draw_dots(
    axes: "Axes",
    dots: Sequence[Dot],
    colours: Sequence[str],
    markers: Sequence[str],
    beside: str = "",
) -> None:
    """One line a dot, the first on top; `beside` names the second values."""
    for place, (dot, colour, marker) in enumerate(zip(dots, colours, markers, strict=True)):
        if dot.low is not None and dot.high is not None:
            axes.plot([dot.low, dot.high], [place, place], color=colour, solid_capstyle="butt")
        axes.plot(dot.value, place, marker, color=colour, markersize=6)
    seconds = [(dot.beside, place) for place, dot in enumerate(dots) if dot.beside is not None]
    if seconds:
        values, places = zip(*seconds, strict=True)
        axes.plot(values, places, "x", color=GREY, markersize=6, label=beside)
    axes.set_yticks(range(len(dots)), [cut(dot.name) for dot in dots])
    axes.set_ylim(len(dots) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def find_height(lines: int, more: float = 0.9) -> float:
    """Inches for so many lines of dots or bars."""
    return max(1.6, more + 0.3 * lines)


def draw_legend(figure: "Figure", handles: Any, labels: Any, columns: int = 2) -> None:
    """Below all axes."""
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)
