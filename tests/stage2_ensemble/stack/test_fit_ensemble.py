"""What ships, and which rows its rules come from."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from synthetic_world import draw_columns, draw_noise, hold_out, spare

from features.errors import ConfigError, LeakageError
from features.settings.members import ActiveFolds
from features.settings.stacking import Decision, Gate, Label, Stack, StackParams
from stage2_ensemble.columns.columns import CalibrationColumns
from stage2_ensemble.decisions.calibration import choose_calibration
from stage2_ensemble.decisions.prior_shift import keep_train
from stage2_ensemble.decisions.scored_rows import ChoiceRows
from stage2_ensemble.decisions.threshold import DRAWS, choose_threshold
from stage2_ensemble.gate.differences import measure_fold_aucs
from stage2_ensemble.gate.gate import choose_shipped, hold_gate
from stage2_ensemble.gate.out_of_fold import judge_candidates
from stage2_ensemble.models import candidates, forest
from stage2_ensemble.models.best_simple import pick_simple
from stage2_ensemble.models.candidates import GATED, SIMPLE, fit_candidate
from stage2_ensemble.stack import run as stack
from stage2_ensemble.stack.run import TargetRows, fit_ensemble

SETTINGS = Stack(
    inner_folds=3,
    candidates=GATED,
    repeats=1,
    bags=1,
    pca_components=3,
    max_rounds=8,
    learning_rate=0.3,
    num_leaves=7,
)
ALL = (*SIMPLE, *GATED)


def make_params(policy: str = "balanced_accuracy", settings=SETTINGS, seed: int = 0) -> StackParams:
    return StackParams(
        folds=ActiveFolds(active=(0, 1)),
        backbones={"net-a": {}},
        outside={},
        seed=seed,
        stack=settings,
        gate=Gate(),
        decision=Decision(threshold=policy),
        label=Label(),
    )


def draw_calibration(fold: int, rows: int = 60) -> CalibrationColumns:
    columns = draw_columns(fold, rows // 2, rows - rows // 2, seed=70)
    return spare(columns)


@pytest.fixture(scope="module", autouse=True)
def small():
    """Without what test_without.py is about, which takes as long as all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "LEAST_ROWS", 10)
        patch.setattr(forest, "TREES", 20)
        patch.setattr(stack, "leave_backbones_out", lambda *args: {})
        yield


@pytest.fixture(scope="module")
def folds():
    return [draw_columns(0), draw_columns(1, seed=50)]


@pytest.fixture(scope="module")
def judged(folds, small):
    return judge_candidates(folds, SETTINGS, 0)


@pytest.fixture(scope="module")
def choose(folds, judged):
    """The ensemble with so many calibration rows, and these; fitted once."""

    @cache
    def fit(rows: int = 60, policy: str = "balanced_accuracy"):
        spared = [draw_calibration(c.fold, rows) for c in folds]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stack, "judge_candidates", lambda *args: judged)
            return fit_ensemble(folds, spared, make_params(policy), "d" * 64, 0.6), spared

    return fit


# --- what ships


def test_what_ships_has_won_at_the_gate(choose, folds, judged):
    ensemble, _ = choose()
    verdicts = hold_gate(folds, judged, SETTINGS, Gate(), 0)
    assert ensemble.verdicts == tuple(verdicts)
    assert [v.name for v in verdicts] == list(GATED)
    assert ensemble.shipped == choose_shipped(verdicts, "none") in GATED


def test_without_candidates_the_best_simple_one_ships(folds):
    none = SETTINGS.model_copy(update={"candidates": ()})
    spared = [draw_calibration(c.fold) for c in folds]
    ensemble = fit_ensemble(folds, spared, make_params(settings=none), "d" * 64, 0.6)
    assert tuple(ensemble.models) == tuple(ensemble.oof_auc) == SIMPLE
    assert ensemble.shipped == pick_simple(folds, none, 0).name


def test_on_noise_a_simple_one_ships():
    folds = [draw_noise(0, 60, 90, seed=4), draw_noise(1, 60, 90, seed=54)]
    spared = [draw_calibration(c.fold, 0) for c in folds]
    ensemble = fit_ensemble(folds, spared, make_params(), "d" * 64, 0.6)
    assert ensemble.shipped in SIMPLE


def test_the_margin_of_params_counts(choose, folds):
    ensemble, spared = choose()
    params = make_params().model_copy(update={"gate": Gate(margin=0.3)})
    assert ensemble.shipped in GATED
    without = fit_ensemble(folds, spared, params, "d" * 64, 0.6)
    assert without.shipped == pick_simple(folds, SETTINGS, 0).name
    assert [v.outcome for v in without.verdicts] == ["lost"] * 3


@pytest.mark.parametrize("name", ["greedy", "random_forest"])
def test_a_name_in_params_ships_whatever_the_gate_says(choose, folds, judged, monkeypatch, name):
    ensemble, spared = choose()
    monkeypatch.setattr(stack, "judge_candidates", lambda *args: judged)
    params = make_params().model_copy(update={"gate": Gate(ship=name)})
    named = fit_ensemble(folds, spared, params, "d" * 64, 0.6)
    assert named.shipped == name != ensemble.shipped
    assert named.gate_choice == ensemble.gate_choice == ensemble.shipped
    assert named.verdicts == ensemble.verdicts
    # What ships has an interval of its threshold; it was chosen for what ships.
    bounds = {n: named.rules.scorers[n].threshold.low for n in named.models}
    assert [n for n, low in bounds.items() if low is not None] == [name]


def test_a_name_that_was_not_fitted_is_refused_before_anything_is_judged(folds, monkeypatch):
    monkeypatch.setattr(stack, "judge_candidates", lambda *args: pytest.fail("judged"))
    few = SETTINGS.model_copy(update={"candidates": ("lightgbm",)})
    params = make_params(settings=few).model_copy(update={"gate": Gate(ship="random_forest")})
    spared = [draw_calibration(c.fold) for c in folds]
    with pytest.raises(ConfigError, match=r"gate\.ship random_forest: it cannot be fitted"):
        fit_ensemble(folds, spared, params, "d" * 64, 0.6)


def test_facts_are_those_of_rows_that_nothing_was_fitted_on(choose, folds, judged):
    ensemble, _ = choose()
    assert tuple(ensemble.models) == tuple(ensemble.oof_auc) == ALL
    for name in ALL:
        assert ensemble.oof_auc[name] == measure_fold_aucs(folds, judged.scores[name])
    assert ensemble.picks == judged.picks
    assert sum(ensemble.picks.values()) == SETTINGS.inner_folds * SETTINGS.repeats
    assert (ensemble.folds, ensemble.train_digest) == ((0, 1), "d" * 64)
    assert ensemble.rules.prior == keep_train(0.6)


def test_models_that_ship_are_fitted_on_all_rows(choose, folds):
    ensemble, _ = choose()
    new = hold_out(draw_columns(1, seed=300))
    for name in ALL:
        wanted = fit_candidate(name, folds, SETTINGS, 0).score(new)
        np.testing.assert_array_equal(ensemble.models[name].score(new), wanted)


def test_the_seed_of_params_counts(folds):
    spared = [draw_calibration(c.fold) for c in folds]
    few = SETTINGS.model_copy(update={"candidates": ("lightgbm",), "max_rounds": 3})
    found = [
        fit_ensemble(folds, spared, make_params(settings=few, seed=seed), "d" * 64, 0.6)
        for seed in (0, 0, 1)
    ]
    assert found[0].oof_auc == found[1].oof_auc
    assert found[0].oof_auc["logistic"] != found[2].oof_auc["logistic"]
    assert found[0].verdicts == found[1].verdicts != found[2].verdicts


# --- rules


def read_rows(columns, log_odds) -> ChoiceRows:
    """These scores of the rows of all `columns`, at the class shares of train."""
    named = ("row_ids", "groups", "labels", "weights")
    values = {name: np.concatenate([getattr(c, name) for c in columns]) for name in named}
    return ChoiceRows(**values, log_odds=np.asarray(log_odds)).at_prior(0.6)


def check_rule(ensemble, name: str, rows: ChoiceRows, policy: str) -> None:
    """That the rule of this scorer was chosen on these rows."""
    rule = ensemble.rules.scorers[name]
    calibration = choose_calibration(rows)
    assert rule.calibration.to_json() == calibration.to_json()
    read = rows.with_log_odds(calibration.apply(rows.log_odds))
    draws = DRAWS if name == ensemble.shipped else 0
    assert rule.threshold == choose_threshold(read, Decision(threshold=policy), 0.6, draws)


@pytest.mark.parametrize("policy", ["balanced_accuracy", "accuracy"])
def test_with_calibration_rows_rules_come_from_the_ensembles_scores_of_them(choose, policy):
    ensemble, spared = choose(policy=policy)
    assert ensemble.rule_rows == "calibration"
    for name in ALL:
        rows = read_rows(spared[:1], ensemble.score(name, spared))
        check_rule(ensemble, name, rows, policy)


@pytest.mark.parametrize("policy", ["balanced_accuracy", "accuracy"])
def test_without_them_rules_come_from_out_of_fold_scores(choose, folds, judged, policy):
    ensemble, _ = choose(rows=0, policy=policy)
    assert ensemble.rule_rows == "out-of-fold"
    for name in ALL:
        rows = read_rows(folds, np.concatenate(judged.scores[name]))
        check_rule(ensemble, name, rows, policy)


@pytest.mark.parametrize("name", GATED)
def test_rules_never_come_from_a_models_scores_of_its_own_rows(choose, folds, name):
    ensemble, _ = choose(rows=0)
    own = np.concatenate([ensemble.models[name].score(c) for c in folds])
    wrong = choose_calibration(read_rows(folds, own))
    assert ensemble.rules.scorers[name].calibration.losses != wrong.losses


def test_every_member_is_read_by_rows_of_its_own_fold(choose, folds):
    ensemble, _ = choose()
    members = {f"{b}-{c.fold}" for c in folds for b in c.backbones}
    assert set(ensemble.rules.scorers) == members | set(ALL)
    rows = read_rows(folds[1:], folds[1].logits[:, 2])
    check_rule(ensemble, "net_c-1", rows, "balanced_accuracy")


def test_only_what_ships_has_an_interval_of_its_threshold(choose):
    ensemble, _ = choose()
    found = {n for n, r in ensemble.rules.scorers.items() if r.threshold.low is not None}
    assert found == {ensemble.shipped}


def test_rows_to_be_labelled_give_the_share_and_the_thresholds_follow(folds, judged, monkeypatch):
    """600 rows of which a quarter are fakes, where train has 0.6."""
    monkeypatch.setattr(stack, "judge_candidates", lambda *args: judged)
    spared = [draw_calibration(c.fold, 300) for c in folds]
    new = [hold_out(draw_columns(c.fold, 450, 150, seed=7)) for c in folds]
    targets = TargetRows(new, np.arange(600), np.arange(600))
    found = {}
    for share in ("train", 0.25, "estimate"):
        params = make_params("accuracy").model_copy(update={"label": Label(prior=share)})
        found[share] = fit_ensemble(folds, spared, params, "d" * 64, 0.6, targets)
    rules = {share: ensemble.rules for share, ensemble in found.items()}
    prior = rules["estimate"].prior
    assert prior.source == "estimate"
    assert prior.value == pytest.approx(0.25, abs=0.08)
    calibrated = {k: r.scorers["mean"].threshold.value for k, r in rules.items()}
    assert calibrated["train"] < min(calibrated[0.25], calibrated["estimate"])
    odds = np.linspace(-2, 2, 9)
    shift = rules[0.25].read("mean", odds) - rules["train"].read("mean", odds)
    np.testing.assert_allclose(shift, np.log(0.25 / 0.75 / (0.6 / 0.4)))


def test_nothing_to_label_leaves_the_share_of_train(folds, judged, monkeypatch):
    monkeypatch.setattr(stack, "judge_candidates", lambda *args: judged)
    spared = [draw_calibration(c.fold) for c in folds]
    params = make_params().model_copy(update={"label": Label(prior="estimate")})
    prior = fit_ensemble(folds, spared, params, "d" * 64, 0.6).rules.prior
    assert (prior.value, prior.source) == (0.6, "train")
    assert "no rows to be labelled" in prior.reason


def test_calibration_rows_teach_nothing(choose, folds, judged):
    with pytest.raises(LeakageError, match="CalibrationColumns"):
        judge_candidates([draw_calibration(0)], SETTINGS, 0)
    ensemble, spared = choose()
    flipped = [replace(c, labels=1 - c.labels, logits=-c.logits) for c in spared]
    other = fit_ensemble(folds, flipped, make_params(), "d" * 64, 0.6)
    assert other.shipped == ensemble.shipped
    assert other.oof_auc == ensemble.oof_auc
    for name in SIMPLE:
        rules = [e.rules.scorers[name].to_json() for e in (other, ensemble)]
        assert rules[0] != rules[1]


# --- scores of the whole


@pytest.mark.parametrize("name", ALL)
def test_a_score_is_the_mean_over_the_folds(choose, name):
    ensemble, spared = choose()
    wanted = np.mean([ensemble.models[name].score(c) for c in spared], axis=0)
    np.testing.assert_allclose(ensemble.score(name, spared), wanted)
    if name == "mean":
        logits = [c.logits.mean(axis=1) for c in spared]
        np.testing.assert_allclose(wanted, np.mean(logits, axis=0))
