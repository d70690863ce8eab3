"""Out-of-fold scores: who learns from which rows, spied upon."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score
from synthetic_world import as_tier, draw_columns, draw_grouped, hold_out, list_groups

from features.errors import LeakageError, ManifestError
from features.settings.stacking import Stack
from stage2_ensemble.gate import out_of_fold
from stage2_ensemble.gate.differences import measure_fold_aucs
from stage2_ensemble.gate.out_of_fold import BEST_SIMPLE, judge_candidates
from stage2_ensemble.models import best_simple, candidates, forest
from stage2_ensemble.models.best_simple import BestSimple, pick_simple, split_inner
from stage2_ensemble.models.candidates import GATED, SIMPLE, fit_candidate, fit_candidates
from stage2_ensemble.models.combiners import COMBINERS

SETTINGS = Stack(
    inner_folds=3,
    candidates=GATED,
    repeats=2,
    bags=1,
    pca_components=3,
    max_rounds=4,
    learning_rate=0.3,
    num_leaves=7,
)
PICKED = [name for name in SIMPLE if name != "best_single"]
BARE = SETTINGS.model_copy(update={"candidates": ()})


@pytest.fixture(scope="module")
def folds():
    return [draw_grouped(0), draw_grouped(1, seed=50)]


class Spy:
    """Notes, of each model that `judge_candidates` fits, its rows and those that it scores."""

    def __init__(self, monkeypatch):
        self.scored: list[tuple[str, int, set[int], dict[int, set[int]]]] = []
        """Candidate, fold, rows scored, rows by fold that the model learned from."""
        self.fits: list[str] = []
        self.found: list[tuple[str, int, np.ndarray, np.ndarray]] = []
        """Candidate, fold, rows scored, their scores."""
        spy = self

        class Watched:
            def __init__(self, name, model, learned):
                self.name, self.model, self.learned = name, model, learned

            def score(self, columns):
                name = BEST_SIMPLE if isinstance(self.model, BestSimple) else self.name
                rows = set(columns.row_ids)
                spy.scored.append((name, columns.fold, rows, self.learned))
                scores = self.model.score(columns)
                spy.found.append((name, columns.fold, columns.row_ids, scores))
                return scores

        def fit(names, folds, settings, seed):
            spy.fits.extend(names)
            learned = {c.fold: set(c.row_ids) for c in folds}
            models, best = fit_candidates(names, folds, settings, seed)
            watched = {name: Watched(name, model, learned) for name, model in models.items()}
            return watched, Watched(best.name, best, learned)

        monkeypatch.setattr(out_of_fold, "fit_candidates", fit)

    def check(self, folds, name, times):
        """Every row was scored so often, by models that its group had no part in."""
        for columns in folds:
            own = [s for s in self.scored if s[:2] == (name, columns.fold)]
            rows = sorted(i for _, _, rows, _ in own for i in rows)
            assert rows == np.repeat(columns.row_ids, times).tolist()
            for _, fold, scored, learned in own:
                assert scored | learned[fold] == set(columns.row_ids)
                assert not list_groups(columns, scored) & list_groups(columns, learned[fold])
                others = {c.fold: set(c.row_ids) for c in folds if c.fold != fold}
                assert all(learned[k] < rows for k, rows in others.items())


# --- who learns from which rows


def test_rows_are_scored_by_models_that_never_met_their_group(folds, monkeypatch):
    monkeypatch.setattr(candidates, "LEAST_ROWS", 10)
    monkeypatch.setattr(forest, "TREES", 10)
    spy = Spy(monkeypatch)
    judged = judge_candidates(folds, SETTINGS, 0)
    assert list(judged.scores) == [*SIMPLE, *GATED, BEST_SIMPLE]
    for name in judged.scores:
        spy.check(folds, name, SETTINGS.repeats)
        for columns, scores in zip(folds, judged.scores[name], strict=True):
            assert scores.shape == (len(columns),)
            assert np.isfinite(scores).all()
    for name in (*SIMPLE, *GATED):
        assert spy.fits.count(name) == SETTINGS.repeats * SETTINGS.inner_folds
    assert sum(judged.picks.values()) == SETTINGS.repeats * SETTINGS.inner_folds


@pytest.mark.parametrize("declared", [(), ("lightgbm",)])
def test_the_best_simple_one_is_what_the_training_part_picks(folds, declared):
    once = SETTINGS.model_copy(update={"repeats": 1, "candidates": declared})
    judged = judge_candidates(folds, once, 0)
    parts, picks = split_inner(folds, 3, 0), dict.fromkeys(PICKED, 0)
    for held in range(3):
        rest = [c.take(p != held) for c, p in zip(folds, parts, strict=True)]
        best = pick_simple(rest, once, 0)
        picks[best.name] += 1
        for c, p, scores in zip(folds, parts, judged.scores[BEST_SIMPLE], strict=True):
            np.testing.assert_array_equal(scores[p == held], best.score(c.take(p == held)))
    assert judged.picks == picks


def test_labels_of_held_out_rows_change_none_of_their_scores(folds, monkeypatch):
    # The split itself is by label, so it is held fast.
    parts = split_inner(folds, 3, 0)
    monkeypatch.setattr(out_of_fold, "split_inner", lambda *args: parts)
    once = SETTINGS.model_copy(update={"repeats": 1, "candidates": ("lightgbm",)})
    before = judge_candidates(folds, once, 0)
    held = [part == 1 for part in parts]
    flipped = [
        replace(c, labels=np.where(out, 1 - c.labels, c.labels).astype(np.int8))
        for c, out in zip(folds, held, strict=True)
    ]
    after = judge_candidates(flipped, once, 0)
    for name, scores in after.scores.items():
        for out, new, old in zip(held, scores, before.scores[name], strict=True):
            np.testing.assert_array_equal(new[out], old[out])
            assert name in ("mean", "rank_mean") or (new[~out] != old[~out]).any()


def test_repeats_are_averaged(folds, monkeypatch):
    spy = Spy(monkeypatch)
    judged = judge_candidates(folds, BARE, 7)
    single = []
    for repeat in range(2):
        once = BARE.model_copy(update={"repeats": 1})
        single.append(judge_candidates(folds, once, 7 + 1000 * repeat))
    for name in ("rank_mean", "logistic", BEST_SIMPLE):
        for fold in (0, 1):
            wanted = np.mean([s.scores[name][fold] for s in single], axis=0)
            np.testing.assert_allclose(judged.scores[name][fold], wanted, rtol=1e-9)
            assert (single[0].scores[name][fold] != single[1].scores[name][fold]).any()
    rows = [row_ids for name, fold, row_ids, _ in spy.found if (name, fold) == ("mean", 0)]
    assert len({frozenset(r) for r in rows}) == 6  # cut anew, not the same parts again


def test_out_of_fold_auc_tells_what_new_rows_will_see(folds):
    settings = SETTINGS.model_copy(update={"max_rounds": 40, "learning_rate": 0.1})
    judged = judge_candidates(folds, settings, 0)
    new = draw_grouped(0, seed=900)
    for name in ("logistic", "lightgbm", "random_forest"):
        promised = measure_fold_aucs(folds, judged.scores[name])[0]
        model = fit_candidate(name, folds, settings, 0)
        realised = roc_auc_score(new.labels, model.score(hold_out(new)))
        assert promised == pytest.approx(realised, abs=0.06), name


# --- the best simple combiner


def test_changing_choices_cost_nothing(folds, monkeypatch):
    """Parts that choose differently: on one scale no worse than the worst of these choices."""
    loud = [replace(c, logits=40 * c.logits + 300) for c in folds]
    once = BARE.model_copy(update={"repeats": 1})
    turn = iter(["mean", "logistic", "rank_mean"])

    def choose_in_turn(names, rest, settings, seed):
        name = next(turn)
        with monkeypatch.context() as patch:
            patch.setattr(best_simple, "COMBINERS", {name: COMBINERS[name]})
            return fit_candidates(names, rest, settings, seed)

    monkeypatch.setattr(out_of_fold, "fit_candidates", choose_in_turn)
    judged = judge_candidates(loud, once, 0)
    assert judged.picks == dict.fromkeys(PICKED, 0) | {"mean": 1, "logistic": 1, "rank_mean": 1}
    aucs = {name: np.mean(measure_fold_aucs(loud, s)) for name, s in judged.scores.items()}
    assert aucs[BEST_SIMPLE] > min(aucs[n] for n in ("mean", "logistic", "rank_mean")) - 0.005
    mixed = []
    for i, part in enumerate(split_inner(loud, 3, 0)):
        chosen = [judged.scores[name][i] for name in ("mean", "logistic", "rank_mean")]
        mixed.append(np.choose(part, chosen))
        for held, raw in enumerate(chosen):  # within a part it is the choice itself
            out = part == held
            ranks = [rankdata(s[out].round(9)) for s in (judged.scores[BEST_SIMPLE][i], raw)]
            np.testing.assert_array_equal(*ranks)
    assert np.mean(measure_fold_aucs(loud, mixed)) < aucs[BEST_SIMPLE] - 0.1


def test_one_choice_throughout_loses_next_to_nothing(folds):
    judged = judge_candidates(folds, BARE, 0)
    assert set(judged.picks) == set(PICKED)
    best = max(np.mean(measure_fold_aucs(folds, judged.scores[name])) for name in SIMPLE)
    assert np.mean(measure_fold_aucs(folds, judged.scores[BEST_SIMPLE])) > best - 0.01


# --- few rows


def test_too_few_groups_of_a_class_are_counted():
    columns = draw_columns(reals=6, fakes=120)
    real = columns.labels == 0
    two = np.where(real, 1000 + np.cumsum(real) % 2, np.arange(126))
    with pytest.raises(ManifestError, match=r"2 groups of reals, fewer than 3(.|\n)*inner_folds"):
        judge_candidates([replace(columns, groups=two)], SETTINGS, 0)


def test_few_groups_of_a_class_are_judged(monkeypatch):
    """Three groups of reals: parts of parts can no longer be cut, and every fallback holds."""
    monkeypatch.setattr(forest, "TREES", 10)
    columns = draw_columns(reals=30, fakes=120)
    three = np.where(columns.labels == 1, np.arange(150), 1000 + np.arange(150) % 3)
    judged = judge_candidates([replace(columns, groups=three)], SETTINGS, 0)
    assert set(judged.scores) == {*SIMPLE, "lightgbm", "random_forest", BEST_SIMPLE}
    assert all(np.isfinite(scores).all() for (scores,) in judged.scores.values())


def test_combiners_are_judged_with_row_weights(folds):
    weights = np.where(np.arange(200) % 2 == 0, 1e-6, 1.0)
    labels = [np.where(weights < 1, 1 - c.labels, c.labels).astype(np.int8) for c in folds]
    flipped = [replace(c, labels=y, weights=weights) for c, y in zip(folds, labels, strict=True)]
    judged = judge_candidates(flipped, BARE, 0)
    for columns, scores in zip(folds, judged.scores["logistic"], strict=True):
        assert roc_auc_score(columns.labels, scores) > 0.85
    assert set(PICKED) == set(judged.picks)


def test_held_out_columns_are_not_judged_on(folds):
    with pytest.raises(LeakageError, match="HeldOutColumns"):
        judge_candidates([folds[0], hold_out(folds[1])], SETTINGS, 0)


# --- rows as they come back from the web


def test_rows_under_a_tier_are_scored_by_the_models_that_score_the_rows_themselves(folds):
    """A tier that changes nothing gives some of the rows the very scores that they have."""
    rng, once = np.random.default_rng(0), BARE.model_copy(update={"repeats": 2})
    places = [np.sort(rng.permutation(len(columns))[:90]) for columns in folds]
    tiers = [
        {"web": as_tier(columns.take(own))} for columns, own in zip(folds, places, strict=True)
    ]
    judged = judge_candidates(folds, once, 0, tiers=tiers)
    assert judge_candidates(folds, once, 0).tiers == {}
    for name, by_fold in judged.scores.items():
        found = judged.tiers["web"][name]
        for own, scores, rows in zip(places, by_fold, found, strict=True):
            np.testing.assert_allclose(rows, scores[own], rtol=1e-12)
