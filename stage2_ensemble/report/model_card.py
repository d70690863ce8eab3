"""A model card: what it is, on what data, how good, where its limits are.

The head is Hugging Face's (https://huggingface.co/docs/hub/model-cards), by their library.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from features.core.number_text import format_bounds
from features.settings.images import Mode
from features.settings.members import OutsideScores
from stage2_ensemble.display.layout import TextTable
from stage2_ensemble.report.questions import Answer
from stage2_ensemble.results.form import Metrics, ValMetrics, has_val, name_shipped
from stage2_ensemble.sentences.called_fake import list_called_fake
from stage2_ensemble.sentences.outside import LEARNED, UNCHECKED

PAGE = Path(__file__).parent
NAME = "model_card.md"
HEADLINES = {"auc": "roc_auc", "ap": "average_precision", "balanced_accuracy": "balanced_accuracy"}
"""Names of metrics, ours and Hugging Face's."""
SEEN: dict[Mode, str] = {
    "square": "the whole, stretched to a square",
    "fit": "the whole, fitted into a square",
    "crop": "crops of its own pixels",
}
"""What networks see of a picture, by `images.mode`."""
SPECIAL = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_{}[]<>#|$"} | {"\n": " ", "\r": " "})


def build_card(
    metrics: Metrics,
    answers: Sequence[Answer],
    tables: Sequence[TextTable],
    summary: Mapping[str, Any],
    backbones: Mapping[str, Any],
    outside: Mapping[str, OutsideScores],
    source: str,
    mode: Mode,
    size: int,
) -> str:
    """The card as Markdown. `summary`: of `prepare`; `backbones` and `outside`: of `params.yaml`,
    as are `mode` and `size`, those of backbones that name none.

    Names that come with the data are shown as they are and mark nothing up.
    """
    environment = Environment(
        loader=FileSystemLoader(PAGE),
        undefined=StrictUndefined,
        finalize=lambda value: escape(value) if isinstance(value, str) else value,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    shipped = name_shipped(metrics)
    name = f"forgerystack on {Path(source).name}"
    learned = metrics.get("frozen", {}) if has_val(metrics) else {}
    prior = metrics["prior"]["assumed"] if has_val(metrics) else metrics["out_of_fold"]["prior"]
    return environment.get_template(NAME).render(
        head=Markdown(build_head(metrics, list(backbones), name, Path(source).name)),
        name=name,
        shipped=shipped,
        parts=describe_parts(len(backbones), len(outside)),
        networks=[
            describe_network(key, values, mode, size, learned.get(key))
            for key, values in backbones.items()
        ],
        detectors=[describe_declared(key, values) for key, values in outside.items()],
        unchecked=UNCHECKED,
        answers=answers,
        has_val=has_val(metrics),
        data={
            role: summary[role] for role in ("train", "val") if role == "train" or has_val(metrics)
        },
        generators=describe_generators(summary),
        tables=tables,
        worst=list(list_called_fake(metrics["called_fake"])) if has_val(metrics) else [],
        prior=f"{prior['value']:.3g}",
    )


def describe_parts(networks: int, detectors: int) -> str:
    """`2 networks and 1 detector from outside`."""
    counted = ((networks, "network", ""), (detectors, "detector", " from outside"))
    parts = (f"{n} {noun}{'' if n == 1 else 's'}{tail}" for n, noun, tail in counted if n)
    return " and ".join(parts)


class Markdown(str):
    """Text that is Markdown (or YAML) already."""


def escape(text: str) -> str:
    """Text that Markdown shows as it is."""
    return text if isinstance(text, Markdown) else text.translate(SPECIAL)


def build_head(metrics: Metrics, backbones: Sequence[str], name: str, dataset: str) -> str:
    """The YAML between the dashes."""
    results = list(_list_results(metrics, dataset)) if has_val(metrics) else []
    return str(
        ModelCardData(
            library_name="forgerystack",
            pipeline_tag="image-classification",
            tags=["image-classification", "deepfake-detection", "timm", "lightgbm"],
            metrics=list(HEADLINES.values()),
            model_name=name if results else None,
            eval_results=results or None,
        )
    )


def _list_results(metrics: ValMetrics, dataset: str) -> Iterator[EvalResult]:
    """Headline figures on val, and robust AUC on val as it comes back from the web."""
    stack, robustness = metrics["val"]["stack"], metrics["robustness"]
    for ours, theirs in HEADLINES.items():
        yield _build_result(stack, ours, theirs, dataset)
    if robustness["robust"]:
        tiers = f"mean over {', '.join(robustness['tiers'])}"
        yield _build_result(robustness["robust"]["stack"], "auc", HEADLINES["auc"], dataset, tiers)


def _build_result(
    values: Mapping[str, Any], ours: str, theirs: str, dataset: str, config: str | None = None
) -> EvalResult:
    bounds = values[f"{ours}_low"], values[f"{ours}_high"]
    return EvalResult(
        task_type="image-classification",
        dataset_type=dataset,
        dataset_name=dataset,
        dataset_config=config,
        dataset_split="val",
        metric_type=theirs,
        metric_value=round(values[ours], 6),
        metric_name=theirs if bounds[0] is None else f"{theirs} {format_bounds(*bounds)}",
    )


def describe_network(
    name: str, settings: Mapping[str, Any], mode: Mode, size: int, learned: int | None
) -> dict[str, Any]:
    """A backbone as `params.yaml` has it; `mode` and `size`: unless it has its own, `learned`:
    parameters of the head of a frozen one.
    """
    pretrained = settings.get("pretrained")
    is_frozen = settings.get("kind") == "frozen"
    start = "timm's weights" if pretrained is True else str(pretrained)
    if not pretrained:
        start = "an ONNX file" if is_frozen else "from scratch"
    if is_frozen:
        head = "its head" if learned is None else f"a head of {learned:,} parameters"
        start += f", frozen: {head} alone was learned"
    return {
        "name": name,
        "model": str(settings["model"]),
        "sees": SEEN[(settings.get("images") or {}).get("mode", mode)],
        "size": settings.get("image_size") or size,
        "start": start,
    }


def describe_declared(name: str, settings: OutsideScores) -> dict[str, str]:
    """A detector from outside, as it was declared."""
    return {
        "name": name,
        "scores": Path(settings.scores).name,
        "kind": settings.kind,
        "learned_from": LEARNED[settings.learned_from],
    }


def describe_generators(summary: Mapping[str, Any]) -> str:
    """Names of train's generators, a few of them; empty without any."""
    names = sorted(summary["train"]["generators"])
    if not names:
        return ""
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f" Fakes of train are of {', '.join(names[:20])}{more}."
