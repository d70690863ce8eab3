"""Every figure of a run, from `metrics.json` and the tables in `artifacts/plots`.

As PNG for DVC, as SVG for the report. Same tables, same bytes.

    write_pngs(build_charts(metrics, read_plots(Path("artifacts/plots"))), Path("plots"))
"""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import pandas as pd

from features.core.files import write_atomic
from stage2_ensemble.charts import called_fake, curves, dots, shapes, training
from stage2_ensemble.charts.style import build_figure, use_style
from stage2_ensemble.results.form import Metrics, ValMetrics, has_val
from stage2_ensemble.sentences.curves import (
    describe_confusion,
    describe_histogram,
    describe_pr,
    describe_reliability,
    describe_roc,
)
from stage2_ensemble.sentences.training import describe_learning, describe_sampler

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Tables = Mapping[str, pd.DataFrame]
M = TypeVar("M", bound=Metrics)
DOTS_PER_INCH = 160


@dataclass(frozen=True)
class Chart:
    """A figure with its name (of a file), its title, and what it shows in words."""

    name: str
    title: str
    text: str
    figure: "Figure"


@dataclass(frozen=True)
class _Plan(Generic[M]):
    name: str
    title: str
    draw: Callable[[M, Tables], "Figure"]
    describe: Callable[[M, Tables], str]
    is_there: Callable[[M, Tables], bool]


def _has(*names: str) -> Callable[[Metrics, Tables], bool]:
    """There are rows in each of these tables."""
    return lambda _, tables: all(name in tables and len(tables[name]) for name in names)


_VAL: tuple[_Plan[ValMetrics], ...] = (
    _Plan("scorers_auc", "How well each model ranks", dots.draw_scorers,
          lambda m, _: dots.describe_scorers(m), lambda *_: True),
    _Plan("roc_log", "Fakes found against reals called fake", curves.draw_roc,
          lambda m, _: describe_roc(m), _has("roc")),
    _Plan("scores", "Scores of both classes", curves.draw_histogram,
          lambda m, _: describe_histogram(m), _has("score_histogram")),
    _Plan("confusion_matrix", "Answers to reals and fakes", curves.draw_confusion,
          lambda _, t: describe_confusion(t), _has("confusion")),
    _Plan("parts_auc", "By generator and domain", dots.draw_subgroups,
          lambda m, _: dots.describe_subgroups(m), lambda m, _: bool(dots.cut_subgroups(m))),
    _Plan("called_fake", "Which reals are called fake?", called_fake.draw_called_fake,
          lambda m, _: called_fake.describe_called_fake(m),
          lambda m, _: bool(called_fake.list_dots(m))),
    _Plan("robustness_auc", "When pictures are changed", dots.draw_robustness,
          lambda m, _: dots.describe_robustness(m),
          lambda _, t: dots.has_robustness(t)),
    _Plan("reliability", "Are probabilities true?", curves.draw_reliability,
          lambda m, _: describe_reliability(m),
          _has("reliability_before", "reliability_after")),
    _Plan("precision_recall", "Precision and recall", curves.draw_pr,
          lambda m, _: describe_pr(m), _has("pr")),
    _Plan("without_backbone", "Without one of the backbones", dots.draw_without,
          lambda m, _: dots.describe_without(m), lambda m, _: bool(m["without"])),
    _Plan("contributions", "What moves the score", dots.draw_blocks,
          lambda m, _: dots.describe_blocks(m), lambda m, _: bool(dots.find_explained(m))),
    _Plan("lightgbm_shapes", "What LightGBM adds", shapes.draw_shapes,
          lambda _, t: shapes.describe_shapes(t), _has("shapes")),
)  # fmt: skip
_TRAINING: tuple[_Plan[Metrics], ...] = (
    _Plan("learning_curves", "Learning curves", training.draw_learning,
          lambda _, t: describe_learning(t, training.MOST), _has("learning")),
    _Plan("sampler_draws", "What the sampler drew", training.draw_sampler,
          lambda _, t: describe_sampler(t), _has("sampler")),
)  # fmt: skip
CHART_TITLES = {plan.name: plan.title for plan in _VAL} | {p.name: p.title for p in _TRAINING}


def build_charts(metrics: Metrics, tables: Tables) -> list[Chart]:
    """The figures that there is anything to show in; `tables` by the stem of their file.

    Without val those of the training are left.
    """
    with use_style():
        charts = list(_draw(_VAL, metrics, tables)) if has_val(metrics) else []
        return [*charts, *_draw(_TRAINING, metrics, tables)]


def _draw(plans: Iterable[_Plan[M]], metrics: M, tables: Tables) -> Iterator[Chart]:
    for plan in plans:
        if plan.is_there(metrics, tables):
            text = plan.describe(metrics, tables)
            yield Chart(plan.name, plan.title, text, plan.draw(metrics, tables))


def write_png(chart: Chart, path: Path) -> None:
    """Writes the figure on white, atomically."""
    with use_style(), write_atomic(path) as file:
        chart.figure.savefig(file, format="png", dpi=DOTS_PER_INCH,
                             metadata={"Software": None})  # fmt: skip


def write_empty_png(title: str, path: Path) -> None:
    """Says that there is nothing to show: DVC wants a file for each of its plots."""
    with use_style():
        figure = build_figure(1.2)
        figure.text(0.5, 0.5, f"{title}: nothing to show", ha="center", va="center")
    write_png(Chart("", title, "", figure), path)


def write_pngs(charts: list[Chart], folder: Path) -> None:
    """`<name>.png` of every figure that a run can have."""
    found = {chart.name: chart for chart in charts}
    for name, title in CHART_TITLES.items():
        path = folder / f"{name}.png"
        if name in found:
            write_png(found[name], path)
        else:
            write_empty_png(title, path)


def render_svg(chart: Chart) -> str:
    """The figure as part of a page: its ink is the page's, its names are its own."""
    import matplotlib as mpl

    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with use_style(), mpl.rc_context({"svg.hashsalt": chart.name}):
        chart.figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    opening, _, rest = body.partition(">")
    opening = re.sub(r'\s(?:width|height)="[^"]*"', "", opening)
    # Charts of one page share no id.
    for start in (' id="', "url(#", 'href="#'):
        rest = rest.replace(start, f"{start}{chart.name}-")
    rest = rest.replace("#000000", "currentColor")
    label = f"<title>{escape(chart.title)}</title><desc>{escape(chart.text)}</desc>"
    return f'{opening} role="img" fill="currentColor">{label}{rest}'.strip()
