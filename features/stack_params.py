"""Settings of the second stage."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from features.decision_params import Decision, Label
from features.members_params import MembersParams
from features.params import Section

Candidate = Literal["lightgbm", "lightgbm_pca", "random_forest"]


class Stack(Section):
    """The class-weighted LightGBM stacker and the splits that its candidates are judged on."""

    inner_folds: Annotated[int, Field(ge=3)] = 5
    """Parts that the fold rows are cut into, by group, for out-of-fold scores."""
    repeats: PositiveInt = 2
    """Times that they are cut anew; scores of a row are averaged over them."""
    candidates: tuple[Candidate, ...] = ("lightgbm", "lightgbm_pca", "random_forest")
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
    learning_rate: PositiveFloat = 0.05
    num_leaves: Annotated[int, Field(ge=2)] = 15
    min_data_in_leaf: PositiveInt = 20
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = 0.5
    lambda_l2: NonNegativeFloat = 1.0


class Gate(Section):
    """When a LightGBM model ships in place of the best simple combiner."""

    margin: NonNegativeFloat = 0.0005
    """AUC by which it must be better, for all that the interval allows."""
    rows: Literal["all", "untuned"] = "all"
    """Out-of-fold rows that decide. `untuned`: those that `tune` never looked at, for settings that
    it chose on the others; `tune --write` sets it."""


class StackParams(MembersParams):
    """What `stack` reads."""

    seed: NonNegativeInt
    stack: Stack
    gate: Gate
    decision: Decision
    label: Label
