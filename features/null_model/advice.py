"""What the null model's figures say, and what to do about it."""

from collections.abc import Mapping, Sequence
from typing import Any

from features.core.auc import AucEstimate
from features.core.number_text import format_figure
from features.null_model.file_facts import AFTER, FAMILIES, FILE, NAME

ALL = "all"
LIMIT = 0.6
"""Above this AUC the data can be told apart without looking."""
ADVICE = {
    FILE: "the data can be told apart without looking, mostly by {name} (AUC {auc} alone): "
    "networks may learn how files were saved; images.equalize: true re-encodes and resizes all "
    "images alike",
    NAME: "names tell the classes apart, mostly by {name} (AUC {auc} alone): networks never "
    "see names, but the classes probably come from different sources, which they may learn instead "
    "of forgery; take both classes from each source, or see what is left on one that is held out "
    "(split.hold_out)",
    AFTER: "images.equalize is on, but {name} still tell the classes apart (AUC {auc}): "
    "one class holds more detail, which is in the pixels; take both classes from like sources",
}
SAVED_ALIKE = (
    "the data can be told apart without looking, mostly by {name} (AUC {auc} alone): all files "
    "are saved alike, so one class holds more detail, which is in the pixels and no re-encoding "
    "takes out; take both classes from like sources"
)
"""Instead of `ADVICE[FILE]` where `images.equalize` would do what has been done."""
NO_ADVICE = "file facts hardly tell the classes apart"


def list_families(equalized: bool) -> tuple[str, ...]:
    """Families of facts: those after equalising only where pictures are equalised."""
    return (FILE, NAME, AFTER) if equalized else (FILE, NAME)


def judge(
    families: Mapping[str, AucEstimate],
    features: Sequence[Mapping[str, Any]],
    headline: str,
    saved_alike: bool,
) -> dict[str, Any]:
    """What the figures say: the facts of `facts.json`. `features`: the best alone first."""
    found = families[headline]
    counted = (AFTER,) if headline == AFTER else (FILE, NAME)
    best = {
        family: next(f for f in features if f["family"] == family)
        for family in FAMILIES
        if family in families
    }
    main = next(feature for feature in features if feature["family"] in counted)
    return {
        "headline": headline,
        **found.to_metrics(),
        "told_apart": is_told_apart(found),
        "main_feature": main["name"],
        "families": {name: estimate.to_metrics() for name, estimate in families.items()},
        "features": list(features),
        "advice": advise(families, best, headline, main["family"], saved_alike),
    }


def is_told_apart(found: AucEstimate) -> bool:
    """Whether an AUC is above `LIMIT`."""
    return found.auc is not None and found.auc > LIMIT


def advise(
    families: Mapping[str, AucEstimate],
    best: Mapping[str, Mapping[str, Any]],
    headline: str,
    main_family: str,
    saved_alike: bool,
) -> str:
    """What to do about each family that tells the classes apart; `best`: its best fact."""
    told = {family for family in best if is_told_apart(families[family])}
    if not told and is_told_apart(families[headline]):
        told = {main_family}
    parts = []
    if headline == AFTER:
        told -= {FILE}
        if AFTER not in told:
            parts.append(f"after images.equalize {NO_ADVICE}")
    advice = ADVICE | ({FILE: SAVED_ALIKE} if saved_alike else {})
    parts += [
        advice[family].format(name=best[family]["name"], auc=format_figure(best[family]["auc"]))
        for family in FAMILIES
        if family in told
    ]
    return "; ".join(parts) or NO_ADVICE
