"""How good what ships is, what it gains over simpler choices, and what to doubt in its figures."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from features.core.number_text import format_of_hundred
from stage2_ensemble.findings.scorers import PAIRED
from stage2_ensemble.measures.metrics import RATES, name_false_positives
from stage2_ensemble.models.candidates import GATED
from stage2_ensemble.results.answers import Answers, AnswerShare
from stage2_ensemble.results.form import (
    CorrectedCounts,
    ValMetrics,
    list_all_folds,
    title_member,
)
from stage2_ensemble.results.scores import (
    Auc,
    CountedUnits,
    HeadlineScorers,
    NullModelAuc,
    PoolingFigures,
    ScoreDifference,
    UnitCounts,
    UnitScores,
    list_combiners,
)
from stage2_ensemble.sentences.intervals import (
    FEW_GROUPS,
    INTERVALS,
    NOT_RELIABLE,
    format_change,
    format_interval,
    judge_difference,
)

METRIC_TITLES = {
    "auc": "AUC",
    "ap": "AP",
    "balanced_accuracy": "balanced acc.",
    "accuracy": "accuracy",
    "tpr_at_fpr_1e-2": "TPR at FPR 1 %",
    "tpr_at_fpr_1e-3": "TPR at FPR 0.1 %",
    "log_loss": "log loss",
    "ece": "ECE",
}
LEAST_FALSE_POSITIVES = 10
"""A TPR that stands on fewer moves with each. Of 100 true TPRs behind which stood one, simulated
intervals held 67 to 74; behind four, 79 to 90; behind twelve, 95."""
BIAS = (
    "Rows that a model disputes are looked at first, so corrected labels flatter it: the original "
    "ones are the headline."
)


def list_scores(metrics: ValMetrics) -> Iterator[str]:
    """The AUC of every member and combiner, of backbones of several folds, of the null model."""
    val = metrics["val"]
    for name, values in {**val["members"], **list_combiners(val)}.items():
        doubt = "" if values["reliable"] else f" ({NOT_RELIABLE})"
        ships = "  <- ships" if name == val["shipped"] else ""
        yield f"val AUC {format_interval(values)}{doubt} {title_member(name, metrics)}{ships}"
    for name, auc in list_all_folds(metrics).items():
        yield f"val AUC {format_interval(auc)} {name}"
    yield f"null model: {describe_null_model(val['null_model'])}"
    yield explain_shipped(val["shipped"])


def explain_shipped(name: str) -> str:
    """What `ships` means."""
    return f"what ships: {name}, the combiner whose labels are written"


def describe_null_model(null: NullModelAuc) -> str:
    """`AUC 0.612 [0.550, 0.679] from file facts, without any picture`."""
    return f"AUC {format_interval(null)} from file facts, without any picture"


def describe_told_apart(null: NullModelAuc) -> str:
    """Where file facts tell the classes apart: what that means."""
    return (
        f"The classes can be told apart without looking, mostly by {null['main_feature']}: "
        "networks may have learned how files were saved."
    )


def describe_rates(answers: Answers) -> str:
    """What labels say of a hundred of each class, as val shows it."""
    reals, fakes = answers["reals"], answers["fakes"]
    called, found = (_count(shares["fake"]) for shares in (reals, fakes))
    left = [
        f" and leaves {_count(shares['review'])} to review" if "review" in shares else ""
        for shares in (reals, fakes)
    ]
    return f"Of 100 reals it calls {called} fake{left[0]}; of 100 fakes it finds {found}{left[1]}"


def _count(share: AnswerShare) -> str:
    return format_of_hundred(share["value"], share["low"], share["high"])


def name_decider(answers: Answers) -> str:
    """What labels follow."""
    return "review band" if "review" in answers else "threshold"


def name_simple(name: str, folds: int) -> str:
    """`mean` or `best_single` in words; a backbone of several active folds is a mean itself."""
    if name == "mean":
        return "plain mean of the members"
    if folds == 1:
        return "best single member"
    return f"best single backbone (mean of its {folds} folds)"


def count_folds(members: Iterable[str]) -> int:
    """Active folds of members `<backbone>-<fold>`."""
    return len({name.rpartition("-")[2] for name in members})


def describe_gain_on_val(shipped: str, other: str, gain: Auc, folds: int) -> str:
    """What ships against a simpler choice, on val."""
    side, simple = judge_difference(gain), name_simple(other, folds)
    said = {
        "above": f"{shipped} is better than the {simple}",
        "below": f"{shipped} is worse than the {simple}",
    }.get(side, f"no difference is shown between {shipped} and the {simple}")
    return f"On val {said}: AUC {format_change(gain)}, {INTERVALS[side]}."


def describe_worth(val: HeadlineScorers) -> str:
    """The gain over the plain mean and what it shows, within a line."""
    gain = val["differences"].get("mean")
    if gain is None:
        return "the plain mean itself ships"  # as the gate chose, or because gate.ship names it
    return f"AUC {format_change(gain)} over the mean: {INTERVALS[judge_difference(gain)]}"


def describe_short_worth(val: HeadlineScorers, gate_choice: str, is_judged: bool) -> str:
    """In a few words: did LightGBM pass the gate, and are several backbones better than one?

    `is_judged`: there was a LightGBM model to be judged.
    """
    shipped, gains = val["shipped"], val["differences"]
    if shipped != gate_choice:
        return (
            f"Not by the gate, which chose {gate_choice}; {shipped} ships because it was asked for"
        )
    if shipped in GATED:
        return f"Yes: {shipped} passed the gate out of fold, and ships"
    short = f"LightGBM did not pass the gate out of fold, and {shipped} ships"
    if not is_judged:
        short = f"no LightGBM model was tried, and {shipped} ships"
    if "best_single" in gains and judge_difference(gains["best_single"]) == "above":
        return f"Several backbones are; {short}"
    return f"Not shown: {short}"


def list_gains(differences: Mapping[str, ScoreDifference]) -> Iterator[str]:
    """What ships minus each simpler choice, by metric; without what could not be measured."""
    for name, values in differences.items():
        gain: Mapping[str, Any] = values
        parts = [
            f"{METRIC_TITLES[metric]} {format_change(gain, metric)}"
            for metric in ("auc", *PAIRED)
            if gain[metric] is not None
        ]
        yield f"what ships minus {name}: {', '.join(parts)}"


def describe_behind_mean(val: HeadlineScorers) -> str:
    """That the plain mean has the higher AUC on val; empty where it has not."""
    if val["stack"]["auc"] >= val["mean"]["auc"]:
        return ""
    return f"on val, {val['shipped']} (ships) is below the plain mean of the members"


def list_cautions(values: Mapping[str, Any], reals: int) -> list[str]:
    """What to know about one entry of `metrics.json`: too few groups, the rows behind TPRs."""
    cautions = []
    if not values["reliable"]:
        groups = values["groups"]
        cautions.append(f"{NOT_RELIABLE}: {FEW_GROUPS}; these rows are of {groups} groups")
    for name in RATES:
        count = values[name_false_positives(name)]
        if count is not None:
            warning = f"; fewer than {LEAST_FALSE_POSITIVES}, so a few rows decide it"
            cautions.append(
                f"false positives behind {METRIC_TITLES[name]}: {count} of {reals} reals"
                + (warning if count < LEAST_FALSE_POSITIVES else "")
            )
    return cautions


def describe_mixed(counts: UnitCounts) -> str:
    """How many units were left out, and why; empty if none was."""
    mixed = counts["mixed"]
    return f"{mixed} with rows of both classes left out" if mixed else ""


def describe_poolings(poolings: Mapping[str, PoolingFigures]) -> str:
    """AUCs of what ships by each way to pool a unit's rows, and which one is used."""
    found = [
        f"{name}{' (used)' if values['used'] else ''} {format_interval(values)}, "
        f"out of fold {format_interval(values['out_of_fold'])}"
        for name, values in poolings.items()
    ]
    return f"AUC of what ships by how a unit's rows are pooled: {'; '.join(found)}"


def list_units(units: UnitScores | CountedUnits, metrics: ValMetrics) -> Iterator[str]:
    """Members and what ships on units, or that nothing could be measured."""
    counts = units["counts"]
    parts = [f"{counts['reals']} real and {counts['fakes']} fake units", describe_mixed(counts)]
    said = ", ".join(filter(None, parts))
    if "stack" not in units:
        yield f"by unit nothing is measured: {said}"
        return
    yield f"by unit, on {said}: {units['shipped']} (ships)"
    for name, values in (*units["members"].items(), ("what ships", units["stack"])):
        doubt = "" if values["reliable"] else f" ({NOT_RELIABLE})"
        yield f"val AUC by unit {format_interval(values)}{doubt} {title_member(name, metrics)}"
    yield describe_poolings(units["poolings"])


def describe_corrections(counts: CorrectedCounts) -> str:
    """How many labels of val were corrected."""
    return (
        f"val labels corrected: {counts['to_real']} to real, {counts['to_fake']} to fake, "
        f"{counts['confirmed']} confirmed"
    )


def list_corrected(metrics: ValMetrics) -> list[str]:
    """What ships on corrected labels beside the original ones; none where no label was changed."""
    if "corrected" not in metrics:
        return []
    corrected, val = metrics["corrected"], metrics["val"]
    lines = [describe_corrections(corrected["counts"])]
    if "stack" not in corrected:
        return [*lines, "on corrected labels nothing is measured: all rows are of one class"]
    before, after = (format_interval(found["stack"]) for found in (val, corrected))
    name = val["shipped"]
    lines.append(f"{name} (ships): AUC {after} on corrected labels, {before} on the original ones")
    return [*lines, BIAS]
