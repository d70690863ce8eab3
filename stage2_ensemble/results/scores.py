"""Figures of scorers, as they stand in `metrics.json`.

A figure `x` has its 95 % interval beside it as `x_low` and `x_high`, null where there is none. The
file is as flat as `dvc metrics` wants it, and names such as `tpr_at_fpr_1e-2` are no identifiers:
so entries are dictionaries with types, and no objects.
"""

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, final, get_args

from typing_extensions import TypedDict

Figure = float | None
Domain = Literal["seen", "unseen", "held_out"]


class Auc(TypedDict):
    """An AUC, or a difference of two."""

    auc: Figure
    auc_low: Figure
    auc_high: Figure


class Counted(TypedDict):
    """How many groups figures stand on."""

    groups: int
    reliable: bool
    """Each class has groups enough for an interval."""


class ClassCounts(TypedDict):
    """Rows of each class."""

    reals: int
    fakes: int


_RareFalsePositives = TypedDict(
    "_RareFalsePositives",
    {
        "tpr_at_fpr_1e-2": Figure,
        "tpr_at_fpr_1e-2_low": Figure,
        "tpr_at_fpr_1e-2_high": Figure,
    },
)
_VeryRareFalsePositives = TypedDict(
    "_VeryRareFalsePositives",
    {
        "false_positives_1e-2": int | None,
        "false_positives_1e-3": int | None,
        "tpr_at_fpr_1e-3": Figure,
        "tpr_at_fpr_1e-3_low": Figure,
        "tpr_at_fpr_1e-3_high": Figure,
    },
)


class ScoreDifference(Auc, _RareFalsePositives):
    """What ships minus another scorer, paired over the same resamples."""

    ap: Figure
    ap_low: Figure
    ap_high: Figure
    accuracy: Figure
    accuracy_low: Figure
    accuracy_high: Figure
    balanced_accuracy: Figure
    balanced_accuracy_low: Figure
    balanced_accuracy_high: Figure
    log_loss: Figure
    log_loss_low: Figure
    log_loss_high: Figure


class CalibrationError(TypedDict):
    """Expected calibration error."""

    ece: Figure
    ece_low: Figure
    ece_high: Figure


class Scores(_RareFalsePositives, _VeryRareFalsePositives, Counted):
    """All figures of one scorer; `false_positives_…` are the reals that a TPR stands on."""

    auc: float
    auc_low: Figure
    auc_high: Figure
    ap: float
    ap_low: Figure
    ap_high: Figure
    accuracy: float
    accuracy_low: Figure
    accuracy_high: Figure
    balanced_accuracy: float
    balanced_accuracy_low: Figure
    balanced_accuracy_high: Figure
    log_loss: float
    log_loss_low: Figure
    log_loss_high: Figure
    ece: float
    ece_low: Figure
    ece_high: Figure


class NullModelAuc(Auc):
    """What file facts and names alone reach."""

    told_apart: bool
    """Its AUC is so high that the classes differ in more than forgery."""
    main_feature: str


class Scorers(TypedDict):
    """Every scorer on the same rows or units."""

    members: dict[str, Scores]
    mean: Scores
    rank_mean: NotRequired[Scores]
    greedy: NotRequired[Scores]
    logistic: NotRequired[Scores]
    best_single: Scores
    lightgbm: NotRequired[Scores]
    lightgbm_pca: NotRequired[Scores]
    random_forest: NotRequired[Scores]
    stack: Scores
    """What ships: the combiner whose labels are written."""
    shipped: str
    differences: dict[str, ScoreDifference]
    """What ships minus `mean` and minus `best_single`; nothing for itself, and of one backbone not
    the second, which is the mean then."""


class UnitCounts(ClassCounts):
    """Units, and those with rows of both classes, which are left out."""

    mixed: int


@final
class CountedUnits(TypedDict):
    """Units on which nothing could be measured."""

    counts: UnitCounts


class PoolingFigures(Auc):
    """Of what ships on units of val, their rows' log-odds being pooled so."""

    out_of_fold: Auc
    """On units of train, by which `label.unit_pooling: auto` chooses."""
    used: bool


@final
class UnitScores(Scorers):
    """By unit: a video, a person."""

    counts: UnitCounts
    poolings: dict[str, PoolingFigures]


class HeadlineScorers(Scorers):
    """`val`: of the rows that headline figures stand on."""

    null_model: NullModelAuc


COMBINERS = (
    *("mean", "rank_mean", "greedy", "logistic", "best_single"),
    *("lightgbm", "lightgbm_pca", "random_forest"),
)
"""In this order wherever they are shown."""


class Comparison(Auc, Counted, ClassCounts):
    """What ships on some rows, and the null model beside."""

    null_auc: Figure
    against: str
    """Both sides in words."""


class Generator(Comparison):
    """Of the fakes (or reals) of one generator."""

    domain: Domain


class Gap(Auc):
    """AUC on seen rows minus that on all others."""

    against: str


class Domains(TypedDict):
    """By domain, as far as val has rows of it."""

    seen: NotRequired[Comparison]
    unseen: NotRequired[Comparison]
    held_out: NotRequired[Comparison]
    gap: NotRequired[Gap]


class CalledFake(TypedDict):
    """The share of some rows of one class that what ships calls fake."""

    called_fake: float
    called_fake_low: Figure
    called_fake_high: Figure
    rows: int
    groups: int


class NamedCalledFake(CalledFake):
    """Of one source or generator; `shared_…`: the risk of 5 % shared among all of the list."""

    name: str
    shared_low: Figure
    shared_high: Figure


class CalledFakeClass(TypedDict):
    """Of one class: all rows, and lists with the worst name first."""

    all: CalledFake
    sources: list[NamedCalledFake]
    generators: list[NamedCalledFake]


class CalledFakeByClass(TypedDict):
    """False positive rates of reals, true positive rates of fakes."""

    reals: CalledFakeClass
    fakes: CalledFakeClass


def list_combiners(scorers: Scorers) -> dict[str, Scores]:
    """Each combiner that was measured, by name."""
    found: Mapping[str, Any] = scorers
    return {name: found[name] for name in COMBINERS if name in found}


def list_domains(domains: Domains) -> dict[str, Comparison]:
    """Each domain that val has rows of, by name."""
    found: Mapping[str, Any] = domains
    return {name: found[name] for name in get_args(Domain) if name in found}


def read_interval(values: Mapping[str, Any], name: str) -> tuple[Figure, Figure, Figure]:
    """The figure `name` of an entry with the ends of its interval."""
    return values[name], values[f"{name}_low"], values[f"{name}_high"]
