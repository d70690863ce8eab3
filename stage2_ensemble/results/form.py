"""What `metrics.json` holds, entry by entry; figures of scorers are in `scores`."""

from typing import Any, Literal, NotRequired, final

from typing_extensions import TypedDict, TypeIs

from stage2_ensemble.results.answers import Answers
from stage2_ensemble.results.robustness import Robustness
from stage2_ensemble.results.scores import (
    Auc,
    CalibrationError,
    CalledFakeByClass,
    ClassCounts,
    CountedUnits,
    Domains,
    Figure,
    Generator,
    HeadlineScorers,
    Scorers,
    UnitScores,
)

DECLARED = "declared"
"""What the figures of a detector from outside stand on: what is said of it, unchecked."""
FROZEN = "frozen"
"""Of a member whose encoder stays as it is, so that its head alone was learned."""


class CalibrationChoice(TypedDict):
    """The calibrator that was chosen on rows of train."""

    name: str
    reason: str
    ece_before: float
    ece_after: float


class CalibrationCheck(CalibrationChoice):
    """The same with its calibration error on val."""

    learned: dict[str, Any]
    losses: dict[str, float]
    chosen_on: str
    val_before: CalibrationError
    val_after: CalibrationError


class Rate(TypedDict):
    """A share of rows."""

    value: Figure
    low: Figure
    high: Figure


class RatePair(TypedDict):
    """Both rates of a threshold in one tier, on rows of train."""

    fpr: Rate
    tpr: Rate


class ThresholdChoice(TypedDict):
    """The threshold on log-odds and what it was chosen by, on rows of train."""

    value: float
    low: Figure
    high: Figure
    policy: str
    target: Figure
    prior: Figure
    fpr: Rate
    tpr: Rate
    note: str
    tiers: dict[str, RatePair]
    """Of `decision.tiers`: the threshold does best in the worst of them and `clean`."""


class ThresholdCheck(ThresholdChoice):
    """The same, and where it lies among log-odds at the prior that labels assume (`read`)."""

    read: float


class PriorEstimate(TypedDict):
    """A share of fakes: fields as in `decisions.prior_shift.Prior`."""

    value: float
    train: float
    source: Literal["train", "given", "estimate"]
    reason: str
    em: Figure
    em_low: Figure
    em_high: Figure
    confusion: Figure
    difference_low: Figure
    difference_high: Figure


class PriorCheck(TypedDict):
    """The share of fakes in val, the one assumed, and the one that scores alone suggest."""

    val: float
    assumed: PriorEstimate
    estimated_on_val: PriorEstimate


class Promise(TypedDict):
    """What was promised on rows of train, and what val shows."""

    title: str
    sense: Literal["", "at most", "at least"]
    promised: float
    promised_low: Figure
    promised_high: Figure
    realised: Figure
    """`None` of a calibration line where scores part the classes without a fault."""
    realised_low: Figure
    realised_high: Figure
    verdict: str
    by_chance: NotRequired[float]


class BlockFigures(TypedDict):
    """What one block of columns does to a candidate's log-odds."""

    contribution: Figure
    gain: Figure
    weight: Figure


class BackboneFigures(TypedDict):
    """A backbone as a whole."""

    spread: float
    """Standard deviation of its log-odds on fold rows of train."""
    all_folds: NotRequired[Auc]
    """On val, of the mean of its members' log-odds; only with several active folds."""


class LeftOut(Auc):
    """Change of AUC without a backbone, out of fold, and what would ship then."""

    name: str


class LeftOutOnVal(LeftOut):
    """The same with the best simple combiner's change, and the change on val."""

    simple_auc: Figure
    simple_auc_low: Figure
    simple_auc_high: Figure
    val_auc: Figure
    val_auc_low: Figure
    val_auc_high: Figure


class CorrectedCounts(ClassCounts):
    """Labels that somebody has looked at."""

    to_real: int
    to_fake: int
    confirmed: int


@final
class CountedLabels(TypedDict):
    """Corrected labels of one class alone, on which nothing could be measured."""

    counts: CorrectedCounts


@final
class Corrected(Scorers):
    """On labels that somebody corrected (`data.label_overrides`)."""

    counts: CorrectedCounts


class OutsideFigures(TypedDict):
    """A detector from outside; `learned_from` and `kind` are declared, not checked."""

    learned_from: Literal["none", "unknown"]
    kind: Literal["probability", "logit"]
    rows: dict[str, int]
    """By role."""
    scored: dict[str, int]
    clipped: int
    train: Auc
    val: Auc
    difference: Auc
    """That on train minus that on val."""


class Rows(TypedDict):
    """Rows that headline figures stand on."""

    val: ClassCounts


class ValMetrics(TypedDict):
    """`metrics.json` of a run with val."""

    val: HeadlineScorers
    rows: Rows
    generators: dict[str, Generator]
    domains: Domains
    called_fake: CalledFakeByClass
    calibration: CalibrationCheck
    threshold: ThresholdCheck
    prior: PriorCheck
    promises: dict[str, Promise]
    answers: Answers
    blocks: dict[str, dict[str, BlockFigures]]
    without: dict[str, LeftOutOnVal]
    backbone_figures: dict[str, BackboneFigures]
    robustness: Robustness
    outside_figures: NotRequired[dict[str, OutsideFigures]]
    frozen: NotRequired[dict[str, int]]
    """By name of a backbone with a frozen encoder the parameters of its head: what was learned."""
    units: NotRequired[UnitScores | CountedUnits]
    corrected: NotRequired[Corrected | CountedLabels]


class OutOfFold(TypedDict):
    """Figures on rows of train."""

    auc: dict[str, float]
    read_on: str
    calibration: CalibrationChoice
    threshold: ThresholdChoice
    prior: PriorEstimate
    """The share of fakes that labels assume."""
    without: dict[str, LeftOut]


class EarlierRun(Auc):
    """Headline figures of the last run that had a val."""

    shipped: str
    rows: ClassCounts


class FinalMetrics(TypedDict):
    """`metrics.json` of a run that has learned from val too (`data.final`)."""

    val: None
    note: str
    rows: Rows
    shipped: str
    out_of_fold: OutOfFold
    earlier: EarlierRun | str


Metrics = ValMetrics | FinalMetrics


def has_val(metrics: Metrics) -> TypeIs[ValMetrics]:
    """Whether the run kept val for measuring."""
    return metrics["val"] is not None


def title_member(name: str, metrics: ValMetrics) -> str:
    """`<backbone>-<fold>`, and that its encoder is frozen; or of a detector from outside its name
    and that it is declared.
    """
    backbone = name.rpartition("-")[0]
    if backbone in metrics.get("outside_figures", {}):
        return title_backbone(backbone, metrics)
    return f"{name} ({FROZEN})" if backbone in metrics.get("frozen", {}) else name


def title_backbone(name: str, metrics: ValMetrics) -> str:
    """Its name; also that its encoder is frozen, or that it is from outside, so declared."""
    if name in metrics.get("frozen", {}):
        return f"{name} ({FROZEN})"
    return f"{name} ({DECLARED})" if name in metrics.get("outside_figures", {}) else name


def list_all_folds(metrics: ValMetrics) -> dict[str, Auc]:
    """By title the mean of each backbone's members; none where one fold is active."""
    return {
        f"{title_backbone(name, metrics)}, all folds": figures["all_folds"]
        for name, figures in metrics["backbone_figures"].items()
        if "all_folds" in figures
    }


def name_shipped(metrics: Metrics) -> str:
    """What ships: the combiner whose labels are written."""
    return metrics["val"]["shipped"] if has_val(metrics) else metrics["shipped"]
