"""What carries a candidate: how far each column, and each block of columns, moves its log-odds.

A row's log-odds are a base, the same for all rows, plus what each column adds. For trees these are
exact SHAP values (Lundberg et al., "From local explanations to global understanding with
explainable AI for trees", Nature Machine Intelligence 2, 2020), by LightGBM; for a weighted sum of
log-odds, the weight times the distance from the mean row; for boosting, the sum of both. They are
means over bags and folds, as the log-odds are. They say what a model uses, not what it could do
without: two backbones that know the same share its credit.

| block | columns |
|---|---|
| `backbone:<name>` | its log-odds, distance to class means, components of its embedding |
| `disagreement` | spread and margin of the backbones' log-odds |
| `start` | log-odds that boosting begins at, where they are a mean of ranks |
| `forensic:<family>` | forensic features of a family |
| `file` | facts of files |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from features.core.manifest import Ids
from stage2_ensemble.columns.columns import Floats, MemberColumns
from stage2_ensemble.models.best_simple import BestSimple
from stage2_ensemble.models.boosted import Boosted, FoldModels, count_threads
from stage2_ensemble.models.candidates import Model, Pooled
from stage2_ensemble.models.combiners import BestSingle, Combiner, Greedy, Logistic
from stage2_ensemble.models.forest import Forest

ROWS = 5_000
"""That contributions are computed for, drawn at random: a mean over more of them says the same."""
SEED = 0
BACKBONE = "backbone:"
DISAGREEMENT = "disagreement"
START = "start"


@dataclass(frozen=True)
class Contributions:
    """`base` and the sum over `values` `(n, c)` are the log-odds of `n` rows."""

    names: tuple[str, ...]
    """Of the columns, `(c,)`."""
    values: Floats
    base: float

    def measure_columns(self) -> dict[str, float]:
        """Mean over the rows of each column's absolute contribution."""
        return dict(zip(self.names, np.abs(self.values).mean(axis=0).tolist(), strict=True))

    def measure_blocks(self) -> dict[str, float]:
        """Mean over the rows of the absolute sum of a block's contributions.

        Not the sum of the columns' own: those that pull a row both ways cancel out.
        """
        return {
            block: float(np.abs(self.values[:, places].sum(axis=1)).mean())
            for block, places in list_blocks(self.names).items()
        }


def list_blocks(names: Sequence[str]) -> dict[str, list[int]]:
    """Positions of the columns of each block: backbones first, in the order of their columns."""
    blocks: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        blocks.setdefault(find_block(name), []).append(place)
    return dict(sorted(blocks.items(), key=lambda item: not item[0].startswith(BACKBONE)))


def find_block(name: str) -> str:
    """The block of a column."""
    kind, _, rest = name.partition(":")
    if kind in ("logit", "logit_max", "logit_spread", "distance", "pca"):
        return BACKBONE + rest.partition(":")[0]
    if kind == START:
        return START
    if kind in ("spread", "margin"):
        return DISAGREEMENT
    if kind == "forensic":
        return f"forensic:{rest.partition(':')[0]}"
    if kind == "file":
        return kind
    raise ValueError(f"the column {name} is of no block")


def sample_explained(count: int) -> Ids:
    """Of so many rows the positions of those to explain, the same each time."""
    if count <= ROWS:
        return np.arange(count)
    return np.sort(np.random.default_rng(SEED).choice(count, ROWS, replace=False))


def explain_model(model: Model, columns: Sequence[MemberColumns]) -> Contributions | None:
    """Contributions to the mean over the folds of a model's log-odds; `columns`: one per fold.

    `None` for what is no sum over columns: a mean of ranks. The components of embeddings of
    different folds have nothing in common but their place; as a block they have the network.
    """
    parts = [_explain_fold(model, c) for c in columns]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    names = tuple(dict.fromkeys(name for part in known for name in part.names))
    values = np.zeros((len(columns[0]), len(names)))
    for part in known:
        values[:, [names.index(name) for name in part.names]] += part.values / len(known)
    return Contributions(names, values, float(np.mean([part.base for part in known])))


def _explain_fold(model: Model, columns: MemberColumns) -> Contributions | None:
    if isinstance(model, Pooled):
        return _explain_sum(BestSimple(model.combiner), columns)
    trees = model.models[columns.fold] if isinstance(model, FoldModels) else model
    assert isinstance(trees, Boosted | Forest)
    found = _explain_trees(trees, columns)
    if isinstance(trees, Forest):
        values, base = found.values / trees.trees, found.base / trees.trees - trees.shift
        return replace(found, values=values, base=base)
    return _add(_explain_sum(trees.start, columns) or _explain_start(trees.start, columns), found)


def _explain_sum(simple: BestSimple, columns: MemberColumns) -> Contributions | None:
    weighed = simple.combiner.weigh(columns.logits)
    if weighed is None:
        return None
    weighed = simple.scale * weighed
    names = tuple(f"logit:{backbone}" for backbone in columns.backbones)
    return Contributions(names, weighed - weighed.mean(axis=0), float(simple.score(columns).mean()))


def _explain_start(simple: BestSimple, columns: MemberColumns) -> Contributions:
    """Of what is no sum over columns."""
    scores = simple.score(columns)
    return Contributions((START,), (scores - scores.mean())[:, None], float(scores.mean()))


def _explain_trees(model: Boosted | Forest, columns: MemberColumns) -> Contributions:
    """The mean over boosters of the sum over their trees; nothing without any."""
    if not model.boosters:
        return Contributions((), np.zeros((len(columns), 0)), 0.0)
    rows = model.table.build(columns)
    found = np.zeros((len(rows), len(model.table.names) + 1))
    for booster in model.boosters:
        values = booster.predict(rows, pred_contrib=True, num_threads=count_threads(len(rows)))
        found += np.asarray(values) / len(model.boosters)
    # The last column is the mean of the rows that were learned from.
    return Contributions(model.table.names, found[:, :-1], float(found[0, -1]))


def _add(one: Contributions, other: Contributions) -> Contributions:
    """To the sum of both."""
    names = tuple(dict.fromkeys((*one.names, *other.names)))
    values = np.zeros((len(one.values), len(names)))
    for part in (one, other):
        values[:, [names.index(name) for name in part.names]] += part.values
    return Contributions(names, values, one.base + other.base)


def find_weights(combiner: Combiner, count: int) -> Floats:
    """`(count,)` what each backbone's log-odds, or rank, counts."""
    match combiner:
        case Logistic():
            return combiner.coefficients_
        case Greedy():
            return combiner.weights_
        case BestSingle():
            return np.asarray(np.eye(count)[combiner.backbone_])
    return np.full(count, 1 / count)


def measure_gains(model: Model) -> dict[str, float]:
    """Share of the gain of all splits that is each column's, the mean over bags and folds.

    Empty for what has no splits. Gain counts the rows that were learned from, so it flatters
    columns that fit them by chance; contributions are those to rows of val.
    """
    if isinstance(model, FoldModels):
        parts = [measure_gains(part) for part in model.models.values()]
        names = dict.fromkeys(name for part in parts for name in part)
        return {name: float(np.mean([part.get(name, 0.0) for part in parts])) for name in names}
    if not isinstance(model, Boosted | Forest):
        return {}
    if not model.boosters:
        return dict.fromkeys(model.table.names, 0.0)
    gains = [np.asarray(b.feature_importance("gain"), np.float64) for b in model.boosters]
    shares = np.mean([gain / max(gain.sum(), np.finfo(float).tiny) for gain in gains], axis=0)
    return dict(zip(model.table.names, shares.tolist(), strict=True))


def add_blocks(by_column: Mapping[str, float]) -> dict[str, float]:
    """The sum of each block's columns."""
    names, values = tuple(by_column), np.array(list(by_column.values()))
    return {block: float(values[places].sum()) for block, places in list_blocks(names).items()}
