"""How many parameters all networks together may have: a rule of some competitions."""

from pydantic import PositiveInt

from features.settings.sections import Section, StageParams


class Budget(Section):
    """What is reported, not enforced: nothing stops a training that is above it."""

    parameters: PositiveInt | None = 200_000_000
    """Over all members, that is backbones × active folds; a frozen encoder counts once, whatever
    the number of folds and of backbones that read it. null: no limit."""


class BudgetFolds(StageParams):
    """The one field of `folds` that the count needs."""

    active: list[int]


class BudgetParams(StageParams):
    """What the count of parameters reads beside `TrainParams`."""

    folds: BudgetFolds
    budget: Budget = Budget()
