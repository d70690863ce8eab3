"""Which pooling of rows into units is used: told, or what units of train say out of fold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from features.core.auc import AucEstimate, measure_auc
from features.settings.stacking import Label
from stage2_ensemble.decisions.scored_rows import ChoiceRows
from stage2_ensemble.decisions.units import Pooling, TrainUnits, merge_choice_rows


@dataclass(frozen=True)
class PoolingChoice:
    """What units' scores are, and what each way would be worth."""

    chosen: Pooling
    judged: Mapping[Pooling, AucEstimate]
    """The AUC of what ships on units of train, by scores of models that did not learn from them;
    empty where too few units are of one class."""

    def to_json(self) -> dict[str, Any]:
        """Everything."""
        judged = [{"top": p.top, **auc.to_metrics()} for p, auc in self.judged.items()]
        return {"top": self.chosen.top, "judged": judged}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        judged = {Pooling(v["top"]): AucEstimate.from_metrics(v) for v in values["judged"]}
        return cls(Pooling(values["top"]), judged)

    def describe(self) -> str:
        """`top_3 of its rows' log-odds; out-of-fold AUC of units mean 0.9, top_3 0.95`."""
        found = ", ".join(f"{p.name} {auc.describe()}" for p, auc in self.judged.items())
        told = f"; out-of-fold AUC of units {found}" if found else ""
        return f"{self.chosen.name} of its rows' log-odds{told}"


def choose_pooling(label: Label, rows: ChoiceRows, units: TrainUnits) -> PoolingChoice:
    """Judges all on `rows`, with out-of-fold scores of what ships; `auto` takes the best AUC."""
    poolings = [Pooling(), Pooling(label.unit_top_k)]
    judged = {}
    for pooling in poolings:
        merged = merge_choice_rows(rows, units, pooling)
        if merged is not None:
            judged[pooling] = measure_auc(merged.labels, merged.log_odds, merged.groups)
    by_setting = dict(zip(("mean", "top_k"), poolings, strict=True))
    if label.unit_pooling != "auto":
        return PoolingChoice(by_setting[label.unit_pooling], judged)
    # The first of equals: the mean.
    best = max(poolings, key=lambda p: judged[p].auc or 0.0) if judged else poolings[0]
    return PoolingChoice(best, judged)
