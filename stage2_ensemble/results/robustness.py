"""What `metrics.json` holds of changed pictures."""

from typing_extensions import TypedDict

from stage2_ensemble.results.scores import Auc, ClassCounts, Counted, Figure


class VariantScores(TypedDict):
    """A scorer on changed pictures; the change is against the same pictures as they are."""

    auc: float
    auc_low: Figure
    auc_high: Figure
    change: Figure
    change_low: Figure
    change_high: Figure
    fpr: float
    tpr: float


class VariantMetrics(TypedDict):
    """One kind and strength of change; without a strength it is a tier, `clean` as they are."""

    perturbation: str
    strength: Figure
    scorers: dict[str, VariantScores]


class Counts(ClassCounts):
    """Rows of each class and of both."""

    rows: int


class RobustAuc(Auc):
    """The mean of a scorer's AUCs over tiers, and the tier where it is lowest."""

    worst: str
    worst_auc: float
    worst_auc_low: Figure
    worst_auc_high: Figure


class BackboneRobust(RobustAuc):
    """The mean of a backbone's log-odds over its folds."""

    tiers: dict[str, Auc]
    """In each of them, `clean` first."""


class Robustness(Counted, Counts):
    """What scorers are worth on changed pictures."""

    note: str
    variants: list[VariantMetrics]
    tiers: list[str]
    """That robust AUC is the mean over, `clean` first; empty where there is no other one."""
    robust: dict[str, RobustAuc]
    """By scorer; empty without tiers."""
    backbones: dict[str, BackboneRobust]
    """By name; empty without tiers."""
