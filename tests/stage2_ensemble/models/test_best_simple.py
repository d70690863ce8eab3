"""The best simple combiner, its scale, and log-odds that know nothing of their own rows."""

import json
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from scipy.special import expit
from synthetic_world import draw_columns, draw_grouped, draw_noise, hold_out, list_groups

from features.core.auc import find_auc
from features.errors import LeakageError
from features.settings.stacking import Stack
from stage2_ensemble.columns.columns import FoldColumns
from stage2_ensemble.gate.differences import measure_fold_aucs
from stage2_ensemble.models import best_simple
from stage2_ensemble.models.best_simple import (
    UNPICKED,
    BestSimple,
    fit_start,
    pick_simple,
    split_inner,
)
from stage2_ensemble.models.candidates import SIMPLE, fit_candidate
from stage2_ensemble.models.combiners import COMBINERS, Mean

SETTINGS = Stack(inner_folds=3, candidates=())
FIT = 2.0**-20
LINE = 2.0**20


@pytest.fixture(scope="module")
def folds():
    return [draw_grouped(0), draw_grouped(1, seed=50)]


def flip(columns: FoldColumns, rows: np.ndarray) -> FoldColumns:
    labels = np.where(rows, 1 - columns.labels, columns.labels)
    return replace(columns, labels=labels.astype(np.int8))


def count_two_groups(columns: FoldColumns) -> FoldColumns:
    """The reals in two groups, so that the rows can be cut in two at most."""
    places = np.arange(len(columns))
    return replace(columns, groups=np.where(columns.labels == 1, places, 998 + places % 2))


# --- nesting


@dataclass
class Ledger:
    """Every fit, and every choice and line with the scores that it was made of.

    A row's score by a combiner is its id plus `FIT` times the number of the fit; the offset of a
    line is `LINE` times its number. So a crossed value tells where it came from.
    """

    fits: list[set[int]] = field(default_factory=list)
    """Ids of the rows that each fit learned from."""
    lines: list[list[np.ndarray]] = field(default_factory=list)
    """Scores that each choice and its line looked at, with the labels of these rows."""

    def trace(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ids of the rows, and the fits that their scores are of."""
        return np.floor(scores).astype(int), ((scores % 1) / FIT).astype(int)


@pytest.fixture
def ledger(monkeypatch) -> Ledger:
    noted, pending = Ledger(), []

    class Watched:
        name = "watched"

        def fit(self, logits, labels, weights):
            self.number = len(noted.fits)
            noted.fits.append(set(logits[:, 0].astype(int)))
            return self

        def score(self, logits):
            return logits[:, 0] + self.number * FIT

    class Line:
        def fit(self, scores, labels, weights):
            self.slope_, self.intercept_ = 1.0, len(noted.lines) * LINE
            noted.lines.append([*pending, scores])
            pending.clear()
            return self

    def watch_auc(labels, scores):
        pending.append(scores)
        return find_auc(labels, scores)

    monkeypatch.setattr(best_simple, "COMBINERS", {"one": Watched, "other": Watched})
    monkeypatch.setattr(best_simple, "Platt", Line)
    monkeypatch.setattr(best_simple, "find_auc", watch_auc)
    return noted


@pytest.mark.parametrize("parts", [3, 4])
@pytest.mark.parametrize("seed", range(2))
def test_no_fit_choice_or_line_behind_a_rows_log_odds_met_its_group(folds, ledger, parts, seed):
    numbered = [replace(c, logits=c.row_ids[:, None].astype(float)) for c in folds]
    settings = SETTINGS.model_copy(update={"inner_folds": parts})
    start = fit_start(numbered, settings, seed)
    groups = {row: g for c in folds for row, g in zip(c.row_ids, c.groups, strict=True)}
    learned = [{groups[row] for row in rows} for rows in ledger.fits]
    seen = set()
    for columns in folds:
        lines, scores = np.divmod(start.crossed[columns.fold], LINE)
        rows, fits = ledger.trace(scores)
        np.testing.assert_array_equal(rows, columns.row_ids)
        for row, fit, line in zip(rows, fits, lines.astype(int), strict=True):
            assert groups[row] not in learned[fit]
            for looked_at in ledger.lines[line]:
                others, their_fits = ledger.trace(looked_at)
                assert groups[row] not in {groups[other] for other in others}
                assert not any(groups[row] in learned[f] for f in set(their_fits))
            seen.add(line)
    assert len(seen) == parts  # each part has a line, and a choice, of its own
    for line in seen:  # whose scores are honest, too
        for looked_at in ledger.lines[line]:
            pairs = zip(*ledger.trace(looked_at), strict=True)
            assert not any(groups[row] in learned[fit] for row, fit in pairs)


def test_all_rows_of_all_folds_but_its_part_are_learned_from(folds, ledger):
    numbered = [replace(c, logits=c.row_ids[:, None].astype(float)) for c in folds]
    start = fit_start(numbered, SETTINGS, 0)
    parts = split_inner(folds, 3, 0)
    everyone = {row for c in folds for row in c.row_ids}
    for columns, part in zip(folds, parts, strict=True):
        _, scores = np.divmod(start.crossed[columns.fold], LINE)
        _, fits = ledger.trace(scores)
        for own, fit in zip(part, fits, strict=True):
            out = {r for c, p in zip(folds, parts, strict=True) for r in c.row_ids[p == own]}
            assert ledger.fits[fit] == everyone - out
    assert ledger.fits[start.best.combiner.number] == everyone  # for new rows


@pytest.mark.parametrize("whose", ["its part", "its group"])
def test_log_odds_do_not_move_with_their_rows_own_labels(folds, monkeypatch, whose):
    """The split itself is by label, so it is held fast; weights are of the label's kind."""
    parts = split_inner(folds, 3, 0)
    monkeypatch.setattr(best_simple, "split_inner", lambda *args: parts)
    before = fit_start(folds, SETTINGS, 0).crossed
    if whose == "its part":
        touched = [part == 1 for part in parts]
    else:
        pair = np.flatnonzero(folds[0].groups == folds[0].groups[folds[0].groups >= 1000][0])
        assert len(pair) > 1
        touched = [np.isin(np.arange(200), pair), np.zeros(200, bool)]
    changed = [
        replace(flip(c, rows), weights=np.where(rows, 3.0, c.weights))
        for c, rows in zip(folds, touched, strict=True)
    ]
    after = fit_start(changed, SETTINGS, 0).crossed
    for columns, rows, part in zip(folds, touched, parts, strict=True):
        new, old = after[columns.fold], before[columns.fold]
        np.testing.assert_array_equal(new[rows], old[rows])
        others = ~np.isin(part, np.unique(part[rows])) if rows.any() else part != 0
        assert (new[others] != old[others]).all()


def test_of_two_parts_the_mean_is_scaled_by_the_other(monkeypatch):
    """A pair of parts left out leaves nothing to choose by."""
    columns = count_two_groups(draw_columns(reals=40, fakes=60))
    (part,) = split_inner([columns], 2, 0)
    monkeypatch.setattr(best_simple, "split_inner", lambda *args: [part])
    crossed = fit_start([columns], SETTINGS, 0).crossed[0]
    mean = columns.logits.mean(axis=1)
    for own in (0, 1):
        np.testing.assert_allclose(np.corrcoef(crossed[part == own], mean[part == own]), 1)
        wrong = fit_start([flip(columns, part == own)], SETTINGS, 0).crossed[0]
        np.testing.assert_array_equal(wrong[part == own], crossed[part == own])
        assert (wrong[part != own] != crossed[part != own]).all()


def test_crossed_log_odds_are_no_better_than_those_of_new_rows():
    """On labels that mean nothing they know nothing; in-sample ones of 40 networks would."""
    rng = np.random.default_rng(0)
    noise = [
        replace(
            draw_noise(k, seed=k),
            logits=rng.normal(size=(200, 40)),
            backbones=tuple(map(str, range(40))),
            embeddings=(np.zeros((200, 1), np.float16),) * 40,
        )
        for k in (0, 1)
    ]
    start = fit_start(noise, SETTINGS, 0)
    honest = np.mean(measure_fold_aucs(noise, list(start.crossed.values())))
    logistic = fit_candidate("logistic", noise, SETTINGS, 0)
    seen = np.mean(measure_fold_aucs(noise, [logistic.score(c) for c in noise]))
    assert honest == pytest.approx(0.5, abs=0.07)
    assert seen > 0.65


def test_crossed_log_odds_hold_at_the_shares_of_their_rows(folds):
    start = fit_start(folds, SETTINGS, 0)
    found = np.concatenate(list(start.crossed.values()))
    labels = np.concatenate([c.labels for c in folds])
    assert expit(found).mean() == pytest.approx(labels.mean(), abs=0.01)
    for low, high in ((-9, -1), (-1, 1), (1, 9)):
        rows = (found > low) & (found < high)
        assert rows.sum() > 50
        assert expit(found[rows]).mean() == pytest.approx(labels[rows].mean(), abs=0.06)


def test_a_start_is_of_the_combiner_that_all_rows_pick(folds):
    start = fit_start(folds, SETTINGS, 0)
    assert start.best.to_json() == pick_simple(folds, SETTINGS, 0).to_json()
    assert {fold: len(v) for fold, v in start.crossed.items()} == {0: 200, 1: 200}
    again, other = (fit_start(folds, SETTINGS, seed).crossed for seed in (0, 1))
    for fold in (0, 1):
        np.testing.assert_array_equal(again[fold], start.crossed[fold])
        assert (other[fold] != start.crossed[fold]).any()


# --- the choice


def test_the_best_simple_one_is_chosen_by_its_out_of_fold_auc(folds):
    best = pick_simple(folds, SETTINGS, 0)
    parts = split_inner(folds, 3, 0)
    aucs = {}
    for name in SIMPLE:
        scores = [np.empty(len(c)) for c in folds]
        for held in range(3):
            rest = [c.take(p != held) for c, p in zip(folds, parts, strict=True)]
            model = fit_candidate(name, rest, SETTINGS, 0)
            for c, p, s in zip(folds, parts, scores, strict=True):
                s[p == held] = model.score(c.take(p == held))
        aucs[name] = np.mean(measure_fold_aucs(folds, scores))
    assert best.name == max(set(aucs) - UNPICKED, key=aucs.get)
    whole = fit_candidate(best.name, folds, SETTINGS, 0)
    for c in folds:  # fitted on all rows, on the scale of log-odds
        wanted = best.scale * whole.score(c) + best.offset
        np.testing.assert_array_equal(best.score(hold_out(c)), wanted)


def test_a_scale_never_turns_the_order_round():
    """On noise a line through labels and scores may fall."""
    assert min(pick_simple([draw_noise(seed=seed)], SETTINGS, 0).scale for seed in range(12)) > 0


@pytest.mark.parametrize(
    ("rows", "picked"),
    [
        ("their scales differ", {"rank_mean"}),
        ("one knows all", {"greedy", "logistic"}),
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
    assert pick_simple([members], SETTINGS, 0).name in picked


def test_one_network_alone_is_not_picked(monkeypatch):
    """Few rows would now and then prefer it to combinations that are better on others."""

    def draw_alike(seed):
        columns = draw_columns(reals=25, fakes=35)
        rng = np.random.default_rng(seed)
        errors = 0.9 * rng.normal(size=(60, 1)) + 0.4 * rng.normal(size=(60, 3))
        return replace(columns, logits=0.8 * (2.0 * columns.labels[:, None] - 1) + errors)

    def pick():
        return {pick_simple([draw_alike(seed)], SETTINGS, 0).name for seed in range(20)}

    assert "best_single" not in pick()
    monkeypatch.setattr(best_simple, "UNPICKED", frozenset())
    assert "best_single" in pick()


def test_what_is_never_picked_is_fitted_on_all_rows_alone(folds, monkeypatch):
    rows = []
    fit = COMBINERS["best_single"].fit

    def watch(self, logits, labels, weights):
        rows.append(len(logits))
        return fit(self, logits, labels, weights)

    monkeypatch.setattr(COMBINERS["best_single"], "fit", watch)
    assert "best_single" in fit_start(folds, SETTINGS, 0).combiners
    assert rows == [sum(map(len, folds))]


def test_of_equals_the_simplest_is_picked():
    columns = draw_columns()
    same = replace(columns, logits=np.repeat(columns.logits[:, :1], 3, axis=1))
    assert pick_simple([same], SETTINGS, 0).name == "mean"


@pytest.mark.parametrize("loudness", [1, 40])
def test_scores_of_new_rows_are_log_odds(folds, loudness):
    loud = [replace(c, logits=loudness * c.logits + 300) for c in folds]
    new = [draw_columns(k, 800, 1200, seed=700 + k) for k in (0, 1)]
    best = pick_simple(loud, SETTINGS, 0)
    found = np.concatenate(
        [best.score(hold_out(replace(c, logits=loudness * c.logits + 300))) for c in new]
    )
    labels = np.concatenate([c.labels for c in new])
    for low, high in ((-9, -1), (-1, 1), (1, 9)):
        rows = (found > low) & (found < high)
        assert expit(found[rows]).mean() == pytest.approx(labels[rows].mean(), abs=0.06)


@pytest.mark.parametrize("fit", [pick_simple, lambda *args: fit_start(*args).best])
def test_rows_too_few_to_be_cut_choose_the_mean_as_it_is(fit):
    columns = draw_columns(reals=40, fakes=60)
    one_group = replace(columns, groups=np.where(columns.labels == 1, np.arange(100), 999))
    for few in ([one_group], [columns, replace(one_group, fold=1)]):
        best = fit(few, SETTINGS, 0)
        assert (best.name, best.scale, best.offset) == ("mean", 1.0, 0.0)
        for c, crossed in fit_start(few, SETTINGS, 0).crossed.items():
            np.testing.assert_array_equal(crossed, few[c].logits.mean(axis=1))
    assert fit([count_two_groups(columns)], SETTINGS, 0).scale != 1.0  # cut in two


def draw_mixed(seed: int) -> FoldColumns:
    """Few groups, and the reals in two or three of them, beside fakes."""
    columns, rng = draw_columns(reals=30, fakes=30), np.random.default_rng(seed)
    count = int(rng.integers(3, 7))
    groups = rng.choice(count, size=60, p=rng.dirichlet(np.ones(count)))
    few = rng.choice(count, int(rng.integers(2, 4)), replace=False)
    own = np.where(columns.labels == 0, few[rng.integers(len(few), size=60)], groups)
    return replace(columns, groups=own)


@pytest.mark.parametrize(("seed", "parts"), [(1, 2), (11, 1), (1029, 1)])
def test_groups_of_both_classes_are_cut_into_parts_that_leave_both(seed, parts):
    """Into three or two parts these come so that two of them, or one, hold all reals or fakes."""
    columns = draw_mixed(seed)
    start = fit_start([columns], SETTINGS, 0)
    assert np.isfinite(start.crossed[0]).all()
    best = start.best.to_json()
    assert (best == BestSimple(Mean()).to_json()) == (parts == 1)
    assert pick_simple([columns], SETTINGS, 0).to_json() == best


def test_it_looks_at_log_odds_alone(folds):
    class Untouchable:
        def __getitem__(self, key):
            raise AssertionError("embeddings were read")

    bare = [replace(c, embeddings=(Untouchable(),) * 3) for c in folds]
    found, wanted = (fit_start(f, SETTINGS, 0) for f in (bare, folds))
    assert found.best.to_json() == wanted.best.to_json()


def test_row_weights_reach_combiner_and_line(folds):
    wrong = np.arange(200) % 2 == 0
    flipped = [replace(flip(c, wrong), weights=np.where(wrong, 1e-6, 1.0)) for c in folds]
    blind = [replace(c, weights=np.ones(200)) for c in flipped]
    labels = [c.labels for c in folds]
    found = [
        np.mean([np.logaddexp(0, (1 - 2 * y) * start.crossed[k]) for k, y in enumerate(labels)])
        for start in (fit_start(f, SETTINGS, 0) for f in (flipped, blind))
    ]
    assert found[0] < 0.6 < 0.65 < found[1]


@pytest.mark.parametrize("name", SIMPLE)
def test_it_comes_back_from_json(folds, name):
    rows = [np.concatenate([getattr(c, n) for c in folds]) for n in ("logits", "labels", "weights")]
    best = BestSimple(COMBINERS[name]().fit(*rows), 1 / 3, -0.1)
    back = BestSimple.from_json(json.loads(json.dumps(best.to_json())))
    assert back.name == name
    np.testing.assert_array_equal(back.score(folds[0]), best.score(folds[0]))


@pytest.mark.parametrize("fit", [pick_simple, fit_start])
def test_nothing_is_chosen_on_rows_that_are_held_out(folds, fit):
    with pytest.raises(LeakageError, match="HeldOutColumns"):
        fit([folds[0], hold_out(folds[1])], SETTINGS, 0)


# --- parts


def test_auc_is_taken_within_each_fold(folds):
    # Scores of two folds may lie on other scales; pooled they would be worth little.
    scores = [columns.logits[:, 1] + 100 * columns.fold for columns in folds]
    wanted = [find_auc(c.labels, s) for c, s in zip(folds, scores, strict=True)]
    assert measure_fold_aucs(folds, scores) == wanted
    assert min(wanted) > 0.7


def test_parts_are_by_group_stratified_and_seeded(folds):
    parts = split_inner(folds, 3, 0)
    for columns, part in zip(folds, parts, strict=True):
        assert set(part) == {0, 1, 2}
        shares = [columns.labels[part == j].mean() for j in range(3)]
        np.testing.assert_allclose(shares, columns.labels.mean(), atol=0.04)
        groups = [list_groups(columns, columns.row_ids[part == j]) for j in range(3)]
        assert sum(map(len, groups)) == len(set().union(*groups))
    again, other = split_inner(folds, 3, 0), split_inner(folds, 3, 1)
    np.testing.assert_array_equal(parts, again)
    assert any((a != b).any() for a, b in zip(parts, other, strict=True))


def test_held_out_columns_are_not_split(folds):
    with pytest.raises(LeakageError, match="HeldOutColumns"):
        split_inner([folds[0], hold_out(folds[1])], 3, 0)
