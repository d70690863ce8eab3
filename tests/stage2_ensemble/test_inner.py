"""Inner out-of-fold scores: who learns from which rows, spied upon."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from synthetic_world import draw_columns, hold_out

from features.errors import LeakageError, ManifestError
from features.stack_params import Stack
from stage2_ensemble import inner
from stage2_ensemble.columns import FoldColumns
from stage2_ensemble.combiners import COMBINERS
from stage2_ensemble.ensemble import CANDIDATES
from stage2_ensemble.inner import fit_candidates, measure_auc, score_combiner, split_inner

SETTINGS = Stack(inner_folds=3, pca_components=3, max_rounds=8, learning_rate=0.3, num_leaves=7)


def draw_grouped(fold: int, seed: int = 0) -> FoldColumns:
    """200 rows, of which 60 in pairs and 30 in threes, that do not stand together."""
    columns = draw_columns(fold, seed=seed)
    groups = np.arange(200)
    for label in (0, 1):
        places = np.flatnonzero(columns.labels == label)
        groups[places[:30]] = 1000 + 100 * label + np.arange(30) % 15
        groups[places[30:45]] = 2000 + 100 * label + np.arange(15) % 5
    row_ids = 1000 * (fold + 1) + np.arange(200)
    return replace(columns, groups=groups + 10_000 * fold, row_ids=row_ids)


@pytest.fixture(scope="module")
def folds():
    return [draw_grouped(0), draw_grouped(1, seed=50)]


class Spy:
    """Notes which rows each model learned from, stopped on and scored."""

    def __init__(self, monkeypatch):
        self.fits: list[tuple[int, set[int]]] = []
        self.searches: list[tuple[int, set[int], set[int]]] = []
        self.scored: list[tuple[int, set[int], set[int]]] = []
        """Fold, rows scored, rows that the scoring model learned from."""
        self._real = inner.fit_stacker, inner.find_rounds
        monkeypatch.setattr(inner, "fit_stacker", self.fit_stacker)
        monkeypatch.setattr(inner, "find_rounds", self.find_rounds)

    def find_rounds(self, learn, stop, settings, seed):
        self.searches.append((learn.fold, set(learn.row_ids), set(stop.row_ids)))
        return self._real[1](learn, stop, settings, seed)

    def fit_stacker(self, columns, settings, seed, rounds):
        learned = set(columns.row_ids)
        self.fits.append((columns.fold, learned))
        spy, real = self, self._real[0](columns, settings, seed, rounds)

        class Watched:
            def score(self, rows):
                spy.scored.append((rows.fold, set(rows.row_ids), learned))
                return real.score(rows)

        return Watched()


def list_groups(columns: FoldColumns, row_ids: set[int]) -> set[int]:
    return set(columns.groups[np.isin(columns.row_ids, list(row_ids))])


def test_stackers_score_rows_of_groups_that_they_never_met(folds, monkeypatch):
    spy = Spy(monkeypatch)
    fitted = fit_candidates(folds, SETTINGS, 0)
    for columns, scores in zip(folds, fitted.scores["lightgbm"], strict=True):
        own = [(rows, learned) for fold, rows, learned in spy.scored if fold == columns.fold]
        assert len(own) == 3
        assert sorted(i for rows, _ in own for i in rows) == columns.row_ids.tolist()
        for rows, learned in own:
            assert rows | learned == set(columns.row_ids)
            assert not list_groups(columns, rows) & list_groups(columns, learned)
        assert np.isfinite(scores).all()


def test_rows_that_stop_the_boosting_are_neither_learned_from_nor_scored(folds, monkeypatch):
    spy = Spy(monkeypatch)
    fit_candidates(folds, SETTINGS, 0)
    for columns in folds:
        searches = [(learn, stop) for fold, learn, stop in spy.searches if fold == columns.fold]
        scored = [rows for fold, rows, _ in spy.scored if fold == columns.fold]
        for (learn, stop), rows in zip(searches, scored, strict=True):
            parts = [list_groups(columns, part) for part in (learn, stop, rows)]
            assert sum(map(len, parts)) == len(set().union(*parts)) == len(set(columns.groups))


def test_shipped_stackers_learn_from_all_rows_of_their_fold(folds, monkeypatch):
    spy = Spy(monkeypatch)
    fitted = fit_candidates(folds, SETTINGS, 0)
    whole = [(fold, learned) for fold, learned in spy.fits if len(learned) == 200]
    assert whole == [(c.fold, set(c.row_ids)) for c in folds]
    assert set(fitted.stackers) == {0, 1}


@pytest.mark.parametrize("kind", COMBINERS.values(), ids=COMBINERS)
def test_combiners_score_rows_of_groups_that_they_never_met(folds, monkeypatch, kind):
    parts = split_inner(folds, 3, 0)
    learned: list[list[FoldColumns]] = []
    real = inner.fit_combiner

    def fit_combiner(kind, rest):
        learned.append(list(rest))
        return real(kind, rest)

    monkeypatch.setattr(inner, "fit_combiner", fit_combiner)
    scores = score_combiner(kind, folds, parts)
    assert len(learned) == 3
    for held, rest in enumerate(learned):
        model = real(kind, rest)
        for columns, part, seen, score in zip(folds, parts, rest, scores, strict=True):
            out = part == held
            assert set(seen.row_ids) == set(columns.row_ids[~out])
            assert not set(seen.groups) & set(columns.groups[out])
            np.testing.assert_array_equal(score[out], model.score(columns.logits[out]))


def test_final_combiners_learn_from_all_folds(folds):
    fitted = fit_candidates(folds, SETTINGS, 0)
    logits = np.concatenate([c.logits for c in folds])
    labels, weights = (
        np.concatenate([getattr(c, n) for c in folds]) for n in ("labels", "weights")
    )
    for name, kind in COMBINERS.items():
        wanted = kind().fit(logits, labels, weights).score(logits)
        np.testing.assert_array_equal(fitted.combiners[name].score(logits), wanted)


def test_out_of_fold_auc_tells_what_new_rows_will_see(folds):
    settings = SETTINGS.model_copy(update={"max_rounds": 40, "learning_rate": 0.1})
    fitted = fit_candidates(folds, settings, 0)
    new = draw_grouped(0, seed=900)
    promised = measure_auc(folds, fitted.scores["lightgbm"])[0]
    realised = roc_auc_score(new.labels, fitted.stackers[0].score(hold_out(new)))
    assert promised == pytest.approx(realised, abs=0.06)
    assert set(fitted.scores) == set(CANDIDATES)


def test_auc_is_taken_within_each_fold(folds):
    # Scores of two folds may lie on other scales; pooled they would be worth little.
    scores = [columns.logits[:, 1] + 100 * columns.fold for columns in folds]
    wanted = [roc_auc_score(c.labels, s) for c, s in zip(folds, scores, strict=True)]
    assert measure_auc(folds, scores) == wanted


def test_parts_are_stratified_and_seeded(folds):
    parts = split_inner(folds, 3, 0)
    for columns, part in zip(folds, parts, strict=True):
        assert set(part) == {0, 1, 2}
        shares = [columns.labels[part == j].mean() for j in range(3)]
        np.testing.assert_allclose(shares, columns.labels.mean(), atol=0.04)
    again, other = split_inner(folds, 3, 0), split_inner(folds, 3, 1)
    np.testing.assert_array_equal(parts, again)
    assert any((a != b).any() for a, b in zip(parts, other, strict=True))


def test_too_few_groups_of_a_class_are_counted(folds):
    few = folds[0].take(folds[0].labels == 1)
    real = draw_columns(reals=6, fakes=6)
    real = real.take(real.labels == 0)
    mixed = {
        name: np.concatenate([getattr(few, name), getattr(real, name)])
        for name in ("row_ids", "logits", "labels", "weights")
    }
    embeddings = tuple(np.concatenate(p) for p in zip(few.embeddings, real.embeddings, strict=True))
    groups = np.concatenate([few.groups, [7, 7, 7, 8, 8, 8]])  # six reals in two groups
    columns = replace(few, **mixed, embeddings=embeddings, groups=groups)
    with pytest.raises(ManifestError, match=r"2 groups of reals, fewer than 3(.|\n)*inner_folds"):
        split_inner([columns], 3, 0)


def test_held_out_columns_are_not_split(folds):
    with pytest.raises(LeakageError):
        split_inner([hold_out(folds[0])], 3, 0)
