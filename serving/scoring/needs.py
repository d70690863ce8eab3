"""What a candidate of the second stage asks for: members that need not run take no time."""

from dataclasses import dataclass

import numpy as np

from stage2_ensemble.fitted.ensemble import SecondStage
from stage2_ensemble.models.boosted import Boosted, FoldModels
from stage2_ensemble.models.candidates import Model, Pooled
from stage2_ensemble.models.combiners import BestSingle, Combiner, Greedy
from stage2_ensemble.models.forest import Forest


@dataclass(frozen=True)
class Needs:
    """Of one candidate."""

    backbones: tuple[str, ...]
    """Those whose members change its scores."""
    forensics: bool
    """Whether it looks at forensic columns."""
    file_facts: bool
    """Whether it looks at facts of files."""


def find_needs(second_stage: SecondStage, name: str) -> Needs:
    """Of the candidate `name`."""
    model, backbones = second_stage.models[name], second_stage.backbones
    combiner = _find_combiner(model)
    if combiner is not None:
        return Needs(_find_used(combiner, backbones), forensics=False, file_facts=False)
    columns = _list_columns(model)
    return Needs(
        backbones,
        forensics=any(column.startswith("forensic:") for column in columns),
        file_facts=any(column.startswith("file:") for column in columns),
    )


def _find_combiner(model: Model) -> Combiner | None:
    """The simple combiner that a model is, or that its boosters add nothing to."""
    if isinstance(model, Pooled):
        return model.combiner
    if isinstance(model, Boosted) and not model.boosters:
        return model.start.combiner
    return None


def _find_used(combiner: Combiner, backbones: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(combiner, Greedy):
        return tuple(backbones[i] for i in np.flatnonzero(combiner.weights_))
    if isinstance(combiner, BestSingle):
        return (backbones[combiner.backbone_],)
    return backbones


def _list_columns(model: Model) -> set[str]:
    if isinstance(model, FoldModels):
        return {name for own in model.models.values() for name in _list_columns(own)}
    assert isinstance(model, Boosted | Forest)
    return set(model.table.names)
