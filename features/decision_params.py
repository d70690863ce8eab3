"""Settings of final labels: where the threshold stands, what is left open, whose class shares."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, field_validator, model_validator

from features.params import Section

Share = Annotated[float, Field(gt=0, lt=1)]
RATES = ("fpr", "tpr")
"""Policies that aim at a target."""


class Decision(Section):
    """How log-odds become labels."""

    threshold: Literal["balanced_accuracy", "accuracy", "f1", "cost", "fpr", "tpr"] = (
        "balanced_accuracy"
    )
    """What the threshold is best at on rows that no model learned from. `accuracy`, `f1` (of fakes)
    and `cost` depend on the class shares (`label.prior`). `fpr`: the lowest threshold at which no
    more than the share `target` of reals are called fake. `tpr`: the highest at which at least the
    share `target` of fakes is found."""
    target: Share | None = None
    """For `fpr` and `tpr` only."""
    cost_fake: PositiveFloat = 1.0
    """For `cost`: of a fake that is called real."""
    cost_real: PositiveFloat = 1.0
    """For `cost`: of a real that is called fake."""
    review: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    """At most this share of reals is called fake and at most this share of fakes real; rows for
    which that cannot be promised are left to a person. null: every row gets a label."""

    @model_validator(mode="after")
    def _check_policy(self) -> Self:
        problems = []
        if self.threshold in RATES and self.target is None:
            problems.append(f"threshold {self.threshold} needs a target, a share between 0 and 1")
        if self.threshold not in RATES and self.target is not None:
            problems.append(f"target has no meaning for threshold {self.threshold}; set it to null")
        if self.threshold != "cost" and self.cost_fake != self.cost_real:
            problems.append(f"costs have no meaning for threshold {self.threshold}; say cost")
        if problems:
            raise ValueError("\n".join(problems))
        return self


class Label(Section):
    """What the probabilities of final labels assume."""

    prior: Literal["train", "estimate"] | Share = "train"
    """Share of fakes among the rows to be labelled: that of train, a known number, or estimated
    from their scores. It shifts probabilities, and thresholds that depend on the class shares; it
    changes no order."""

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
