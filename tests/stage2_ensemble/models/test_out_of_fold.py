"""Out-of-fold scores: who learns from which rows, spied upon, and the best simple combiner."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score
from synthetic_world import draw_columns, draw_grouped, draw_noise, hold_out, list_groups

from features.errors import LeakageError, ManifestError
from features.settings.stacking import Stack
from stage2_ensemble.models import boosted, candidates, out_of_fold
from stage2_ensemble.models.candidates import GATED, SIMPLE, fit_candidate
from stage2_ensemble.models.combiners import COMBINERS
from stage2_ensemble.models.out_of_fold import (
    BEST_SIMPLE,
    Pick,
    judge_candidates,
    measure_fold_aucs,
    pick_simple,
    split_inner,
)

SETTINGS = Stack(
    inner_folds=3,
    repeats=2,
    bags=1,
    pca_components=3,
    max_rounds=4,
    learning_rate=0.3,
    num_leaves=7,
)
BARE = SETTINGS.model_copy(update={"candidates": ()})


@pytest.fixture(scope="module")
def folds():
    return [draw_grouped(0), draw_grouped(1, seed=50)]


class Spy:
    """Notes, of each model that `out_of_fold` fits, its rows and those that it scores."""

    def __init__(self, monkeypatch):
        self.scored: list[tuple[str, int, set[int], dict[int, set[int]]]] = []
        """Candidate, fold, rows scored, rows by fold that the model learned from."""
        self.fits: list[str] = []
        self.found: list[tuple[str, int, np.ndarray, np.ndarray]] = []
        """Candidate, fold, rows scored, their scores."""
        spy, real = self, out_of_fold.fit_candidate

        class Watched:
            def __init__(self, name, model, learned):
                self.name, self.model, self.learned = name, model, learned

            def score(self, columns):
                rows = set(columns.row_ids)
                spy.scored.append((self.name, columns.fold, rows, self.learned))
                scores = self.model.score(columns)
                spy.found.append((self.name, columns.fold, columns.row_ids, scores))
                return scores

        def fit(name, folds, settings, seed, basis=None):
            spy.fits.append(name)
            learned = {c.fold: set(c.row_ids) for c in folds}
            return Watched(name, real(name, folds, settings, seed, basis), learned)

        for module in (out_of_fold, candidates):
            monkeypatch.setattr(module, "fit_candidate", fit)

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
    monkeypatch.setattr(boosted, "FOREST_TREES", 10)
    monkeypatch.setattr(out_of_fold, "pick_simple", lambda *args: Pick("mean"))
    spy = Spy(monkeypatch)
    judged = judge_candidates(folds, SETTINGS, 0)
    assert list(judged.scores) == [*SIMPLE, *GATED, BEST_SIMPLE]
    for name in (*SIMPLE, *GATED):
        spy.check(folds, name, SETTINGS.repeats)
        assert spy.fits.count(name) == SETTINGS.repeats * SETTINGS.inner_folds
        for columns, scores in zip(folds, judged.scores[name], strict=True):
            assert scores.shape == (len(columns),)
            assert np.isfinite(scores).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_choice_of_a_simple_one_meets_no_group_twice(folds, monkeypatch, seed):
    spy = Spy(monkeypatch)
    pick_simple(folds, SETTINGS, seed)
    assert set(spy.fits) == set(SIMPLE)
    for name in SIMPLE:
        spy.check(folds, name, 1)


def test_the_choice_is_made_on_the_training_part_alone(folds, monkeypatch):
    real, chosen = out_of_fold.pick_simple, []

    def pick(rest, settings, seed):
        chosen.append([set(c.row_ids) for c in rest])
        return real(rest, settings, seed)

    monkeypatch.setattr(out_of_fold, "pick_simple", pick)
    judged = judge_candidates(folds, BARE, 0)
    assert sum(judged.picks.values()) == len(chosen) == 6
    for repeat in range(2):
        parts = split_inner(folds, 3, 1000 * repeat)
        for held in range(3):
            wanted = [set(c.row_ids[p != held]) for c, p in zip(folds, parts, strict=True)]
            assert chosen[3 * repeat + held] == wanted


def test_labels_of_held_out_rows_change_none_of_their_scores(folds, monkeypatch):
    # The split itself is by label, so it is held fast.
    parts = split_inner(folds, 3, 0)
    monkeypatch.setattr(
        out_of_fold,
        "split_inner",
        lambda rows, count, seed: parts if len(rows[0]) == 200 else split_inner(rows, count, seed),
    )
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
    monkeypatch.setattr(out_of_fold, "pick_simple", lambda *args: Pick("logistic", 2.0, 0.7))
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
    for scores, best in zip(judged.scores["logistic"], judged.scores[BEST_SIMPLE], strict=True):
        np.testing.assert_allclose(best, 2 * scores + 0.7)
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


def test_the_best_simple_one_is_chosen_by_its_out_of_fold_auc(folds):
    pick = pick_simple(folds, BARE, 0)
    parts = split_inner(folds, 3, 0)
    aucs = {}
    for name in SIMPLE:
        scores = [np.empty(len(c)) for c in folds]
        for held in range(3):
            rest = [c.take(p != held) for c, p in zip(folds, parts, strict=True)]
            model = fit_candidate(name, rest, BARE, 0)
            for c, p, s in zip(folds, parts, scores, strict=True):
                s[p == held] = model.score(c.take(p == held))
        aucs[name] = np.mean(measure_fold_aucs(folds, scores))
    assert pick.name == max(aucs, key=aucs.get)


def test_a_scale_never_turns_the_order_round():
    """On noise a line through labels and scores may fall."""
    assert min(pick_simple([draw_noise(seed=seed)], BARE, 0).scale for seed in range(12)) > 0


@pytest.mark.parametrize(
    ("rows", "picked"),
    [
        ("their scales differ", {"rank_mean"}),
        ("one knows all", {"greedy", "best_single", "logistic"}),
        ("one knows the error of another", {"logistic"}),
    ],
)
def test_it_is_what_the_rows_ask_for(rows, picked):
    columns = draw_columns(reals=200, fakes=200)
    signs = 2.0 * columns.labels - 1
    a, b, c = np.random.default_rng(0).normal(size=(3, 400))
    logits = {
        "their scales differ": [signs + a, (signs + b) ** 9, (signs + c) ** 9],
        "one knows all": [signs + a, 30 * b, 30 * c],
        "one knows the error of another": [signs + 5 * a, a, b],
    }[rows]
    members = replace(columns, logits=np.stack(logits, axis=1))
    assert pick_simple([members], BARE, 0).name in picked


def test_of_equals_the_simplest_is_picked():
    columns = draw_columns()
    same = replace(columns, logits=np.repeat(columns.logits[:, :1], 3, axis=1))
    assert pick_simple([same], BARE, 0).name == "mean"


def test_a_picked_one_is_on_the_scale_of_log_odds(folds):
    loud = [replace(c, logits=40 * c.logits + 300) for c in folds]
    for members in (folds, loud):
        pick = pick_simple(members, BARE, 0)
        scores = dict(out_of_fold.score_simple(members, BARE, 0))[pick.name]
        found = pick.scale * np.concatenate(scores) + pick.offset
        labels = np.concatenate([c.labels for c in members])
        probabilities = 1 / (1 + np.exp(-found))
        assert probabilities.mean() == pytest.approx(labels.mean(), abs=1e-4)
        assert np.abs(found).mean() == pytest.approx(2.4, abs=0.6)


def test_changing_choices_cost_nothing(folds, monkeypatch):
    """Parts that choose differently: on one scale no worse than the worst of these choices."""
    loud = [replace(c, logits=40 * c.logits + 300) for c in folds]
    once = BARE.model_copy(update={"repeats": 1})
    real, turn = out_of_fold.pick_simple, iter(["mean", "logistic", "rank_mean"])

    def pick_in_turn(rest, settings, seed):
        name = next(turn)
        with monkeypatch.context() as patch:
            patch.setattr(out_of_fold, "SIMPLE", (name,))
            return real(rest, settings, seed)

    monkeypatch.setattr(out_of_fold, "pick_simple", pick_in_turn)
    judged = judge_candidates(loud, once, 0)
    assert judged.picks == dict.fromkeys(SIMPLE, 0) | {"mean": 1, "logistic": 1, "rank_mean": 1}
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
    assert set(judged.picks) == set(SIMPLE)
    best = max(np.mean(measure_fold_aucs(folds, judged.scores[name])) for name in SIMPLE)
    assert np.mean(measure_fold_aucs(folds, judged.scores[BEST_SIMPLE])) > best - 0.01


def test_rows_too_few_to_be_split_choose_the_simplest():
    columns = draw_columns(reals=40, fakes=60)
    one_group = replace(columns, groups=np.where(columns.labels == 1, np.arange(100), 999))
    assert pick_simple([one_group], BARE, 0) == Pick("mean")
    assert pick_simple([columns, one_group], BARE, 0) == Pick("mean")
    two = replace(
        columns, groups=np.where(columns.labels == 1, np.arange(100), 998 + np.arange(100) % 2)
    )
    assert pick_simple([two], BARE, 0) != Pick("mean")  # cut in two


def test_the_choice_looks_at_log_odds_alone(folds):
    class Untouchable:
        def __getitem__(self, key):
            raise AssertionError("embeddings were read")

    bare = [replace(c, embeddings=(Untouchable(),) * 3) for c in folds]
    assert pick_simple(bare, BARE, 0) == pick_simple(folds, BARE, 0)


# --- parts


def test_auc_is_taken_within_each_fold(folds):
    # Scores of two folds may lie on other scales; pooled they would be worth little.
    scores = [columns.logits[:, 1] + 100 * columns.fold for columns in folds]
    wanted = [roc_auc_score(c.labels, s) for c, s in zip(folds, scores, strict=True)]
    assert measure_fold_aucs(folds, scores) == wanted


def test_parts_are_stratified_and_seeded(folds):
    parts = split_inner(folds, 3, 0)
    for columns, part in zip(folds, parts, strict=True):
        assert set(part) == {0, 1, 2}
        shares = [columns.labels[part == j].mean() for j in range(3)]
        np.testing.assert_allclose(shares, columns.labels.mean(), atol=0.04)
    again, other = split_inner(folds, 3, 0), split_inner(folds, 3, 1)
    np.testing.assert_array_equal(parts, again)
    assert any((a != b).any() for a, b in zip(parts, other, strict=True))


def test_too_few_groups_of_a_class_are_counted():
    columns = draw_columns(reals=6, fakes=120)
    real = columns.labels == 0
    two = np.where(real, 1000 + np.cumsum(real) % 2, np.arange(126))
    with pytest.raises(ManifestError, match=r"2 groups of reals, fewer than 3(.|\n)*inner_folds"):
        judge_candidates([replace(columns, groups=two)], SETTINGS, 0)


def test_few_groups_of_a_class_are_judged(monkeypatch):
    """Three groups of reals: parts of parts can no longer be cut, and every fallback holds."""
    monkeypatch.setattr(boosted, "FOREST_TREES", 10)
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
    assert set(COMBINERS) == set(judged.picks)


def test_held_out_columns_are_not_split(folds):
    for fitting in (
        lambda rows: split_inner(rows, 3, 0),
        lambda rows: judge_candidates(rows, SETTINGS, 0),
        lambda rows: pick_simple(rows, SETTINGS, 0),
    ):
        with pytest.raises(LeakageError, match="HeldOutColumns"):
            fitting([folds[0], hold_out(folds[1])])
