"""Settings of the second stage and of final labels.

Final labels: where the threshold stands, what is left open, whose class shares.
"""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from features.settings.members import MembersParams
from features.settings.sections import Section, Seed

Share = Annotated[float, Field(gt=0, lt=1)]
RATES = ("fpr", "tpr")
"""Policies that aim at a target."""
Candidate = Literal["lightgbm", "lightgbm_pca", "random_forest"]
Simple = Literal["mean", "rank_mean", "greedy", "logistic", "best_single"]


Policy = Literal["balanced_accuracy", "accuracy", "f1", "cost", "fpr", "tpr"]


class Decision(Section):
    """How log-odds become labels."""

    threshold: Policy | float = "balanced_accuracy"
    """A number between 0 and 1: that score, whatever the rows. Else what the threshold is best at
    on rows that no model learned from. `accuracy`, `f1` (of fakes) and `cost` depend on the class
    shares (`label.prior`). `fpr`: the lowest threshold at which no more than the share `target` of
    reals are called fake. `tpr`: the highest at which at least the share `target` of fakes is
    found."""
    target: Share | None = None
    """For `fpr` and `tpr` only."""
    cost_fake: PositiveFloat = 1.0
    """For `cost`: of a fake that is called real."""
    cost_real: PositiveFloat = 1.0
    """For `cost`: of a real that is called fake."""
    review: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    """At most this share of reals is called fake and at most this share of fakes real; rows for
    which that cannot be promised are left to a person. null: every row gets a label."""
    tiers: tuple[str, ...] = ()
    """Names of `perturb.tiers`: the threshold is the one that does best in the worst of them and of
    pictures as they are, so that a target holds in all. Thresholds of units know no tiers."""

    @field_validator("threshold", mode="before")
    @classmethod
    def _check_threshold(cls, value: object) -> object:
        is_score = isinstance(value, float) and 0 < value < 1
        if is_score or value in get_args(Policy):
            return value
        raise ValueError(
            f"must be one of {', '.join(get_args(Policy))}, or a score between 0 and 1"
        )

    @model_validator(mode="after")
    def _check_policy(self) -> Self:
        problems = []
        if self.threshold in RATES and self.target is None:
            problems.append(f"threshold {self.threshold} needs a target, a share between 0 and 1")
        if self.threshold not in RATES and self.target is not None:
            problems.append(f"target has no meaning for threshold {self.threshold}; set it to null")
        if self.threshold != "cost" and self.cost_fake != self.cost_real:
            problems.append(f"costs have no meaning for threshold {self.threshold}; say cost")
        if self.tiers and isinstance(self.threshold, float):
            problems.append("tiers have no meaning for a threshold that is a score")
        if self.tiers and self.review is not None:
            problems.append("tiers have no meaning with review, whose labels follow no threshold")
        if len(set(self.tiers)) < len(self.tiers):
            problems.append("tiers: a name stands there twice")
        if problems:
            raise ValueError("\n".join(problems))
        return self


class Label(Section):
    """What the probabilities of final labels assume, and what a unit's score is."""

    prior: Literal["train", "estimate"] | Share = "train"
    """Share of fakes among the rows to be labelled: that of train, a known number, or estimated
    from their scores. It shifts probabilities, and thresholds that depend on the class shares; it
    changes no order."""
    unit_pooling: Literal["mean", "top_k", "auto"] = "mean"
    """What the score of a unit (a video, a person) is: the mean of its rows' log-odds, or that of
    the `unit_top_k` highest. `auto`: what has the higher AUC on units of train, out of fold."""
    unit_top_k: PositiveInt = 3

    @field_validator("prior", mode="before")
    @classmethod
    def _check_prior(cls, value: Any) -> Any:
        if value in ("train", "estimate"):
            return value
        try:
            number = float(value) if not isinstance(value, bool) else float("nan")
        except (TypeError, ValueError):
            number = float("nan")
        if not 0 < number < 1:
            raise ValueError("must be train, estimate or a share of fakes between 0 and 1")
        return number


class Stack(Section):
    """The class-weighted LightGBM stacker and the splits that its candidates are judged on."""

    inner_folds: Annotated[int, Field(ge=3)] = 5
    """Parts that the fold rows are cut into, by group, for out-of-fold scores."""
    repeats: PositiveInt = 2
    """Times that they are cut anew; scores of a row are averaged over them."""
    candidates: tuple[Candidate, ...] = ("lightgbm", "lightgbm_pca")
    """What may ship if it beats the best simple combiner. Each one declared here makes it harder
    for the others: the risk of a lucky winner is shared among them."""
    columns: Annotated[tuple[str, ...], Field(min_length=1)] = ("*",)
    """Names of the columns that they see: patterns with `*`, after `!` those to leave out."""
    use_file_facts: bool = False
    """Columns of what is known of a file besides its pixels (size, format, tables). What they tell
    of your rows, the null model says; on rows of another source it may be wrong."""
    pca_components: PositiveInt = 64
    """Principal components kept of each backbone's embedding, at most rows / 4."""
    class_weight: Literal["balanced", "effective", "none"] | PositiveFloat = "balanced"
    """`balanced`: both classes weigh the same; `effective`: by the effective number of rows; a
    number: what a real counts, a fake being 1. The shift of the log-odds is undone."""
    bags: PositiveInt = 3
    """Fits with other seeds that are averaged in what ships; the gate judges single ones."""
    max_rounds: PositiveInt = 300
    """Of either kind of trees, what cross-validation within the rows may choose at most; 0 rounds
    leave the best simple combiner as it is."""
    learning_rate: PositiveFloat = 0.05
    num_leaves: Annotated[int, Field(ge=2)] = 15
    """Of the trees that look at columns together, and follow those that look at one column each, if
    that clearly lowers the loss. 2: there are none, and the model is a sum of curves."""
    min_data_in_leaf: PositiveInt = 20
    """At most rows / 20."""
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of trees that look at one column each; the others see all columns."""
    lambda_l2: NonNegativeFloat = 1.0
    """Ten times that for trees that look at columns together."""
    engine: Literal["local", "dask"] = "local"
    """`dask`: for more rows than one machine takes. Embeddings and columns stay with the workers of
    a cluster, components are fitted on all rows, and each worker learns from a part of them."""
    dask_workers: PositiveInt = 2
    """For `dask`: those that share the rows of a LightGBM model. As many give the same model."""

    @property
    def is_spread(self) -> bool:
        """Whether rows lie on a cluster."""
        return self.engine == "dask"


class Gate(Section):
    """When a LightGBM model ships in place of the best simple combiner."""

    margin: NonNegativeFloat = 0.0005
    """AUC by which it must be better, for all that the interval allows."""
    rows: Literal["all", "untuned"] = "all"
    """Out-of-fold rows that decide. `untuned`: those that `tune` never looked at, for settings that
    it chose on the others; `tune --write` sets it."""
    ship: Literal["auto"] | Simple | Candidate = "auto"
    """`auto`: what the gate chooses. A name: that candidate, whatever the gate says; what it said
    stands in log, report and card."""
    pseudo_sources: Annotated[int, Field(ge=2)] | None = None
    """Where no `data.columns.source` is named: so many clusters of the reals' embeddings stand for
    sources. They are not sources: what holds on unseen clusters may not hold on unseen cameras."""


class StackParams(MembersParams):
    """What `stack` reads."""

    seed: Seed
    stack: Stack
    gate: Gate
    decision: Decision
    label: Label
