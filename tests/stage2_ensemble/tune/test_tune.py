"""Tuning: what it may see, what it resumes, what it writes."""

import json
import os
import signal
import sys
from dataclasses import fields, replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from synthetic_world import draw_columns

from features.errors import ConfigError, IntegrityError, LockedError, ManifestError, Stopped
from features.runtime.cli import run_stage
from features.runtime.locks import hold
from features.settings.sections import load_params
from features.settings.stacking import Stack, StackParams
from stage2_ensemble.columns import columns
from stage2_ensemble.columns.tuning_half import take_tuning
from stage2_ensemble.gate.differences import Gain
from stage2_ensemble.gate.gate import Verdict
from stage2_ensemble.models import boosted, candidates
from stage2_ensemble.stack import run as choice
from stage2_ensemble.stack import run as stack
from stage2_ensemble.tune import results
from stage2_ensemble.tune import run as tune
from stage2_ensemble.tune import search as tuning
from stage2_ensemble.tune.__main__ import main
from stage2_ensemble.tune.journal import open_study
from stage2_ensemble.tune.run import SearchBudget, search
from stage2_ensemble.tune.search import (
    SETTINGS,
    TuningTask,
    build_space,
    choose_candidates,
    read_settings,
)
from stage2_ensemble.tune.settings import TuneParams

PRESENT = Stack(inner_folds=3, repeats=1, bags=1, max_rounds=4, pca_components=3, num_leaves=15)
MADE = ("place", "candidate", "values", "auc", "gain", "splits", "pruned")
"""What is the same whenever it is made: not the seconds."""


def draw_halved(fold: int = 0):
    drawn = draw_columns(fold, 50, 70, seed=fold)
    return replace(drawn, tuning=drawn.groups % 2 == 0, digests=("a", "b", "c"))


def make_task(folds=None, names=("lightgbm",), seed=0, settings=PRESENT) -> TuningTask:
    return TuningTask(take_tuning(folds or [draw_halved()]), settings, names, seed)


def make(task: TuningTask, path, trials: int) -> list[tuple]:
    study = open_study(path / "trials.journal", task.key)
    attempts = search(study, task, SearchBudget(1000, trials))
    return [tuple(getattr(a, name) for name in MADE) for a in attempts]


@pytest.fixture
def quick(monkeypatch):
    """AUCs by a formula: best at a learning rate of 0.1, splits that differ by far more."""

    def measure(task, name, settings):
        offset = {"lightgbm": 0.0, "lightgbm_pca": -0.002}[name]
        for split in range(len(task.splits)):
            yield 0.8 + offset + 0.05 * split - 0.01 * abs(np.log(settings.learning_rate / 0.1))

    monkeypatch.setattr(tuning, "measure_splits", measure)


# --- the search


def test_splits_that_leave_one_class_to_learn_from_are_left_out():
    """Two groups hold the reals, and lie in one half; a third of fakes alone is the other."""
    columns = draw_columns(reals=50, fakes=70)
    groups = np.empty(120, np.int64)
    groups[columns.labels == 0] = np.repeat([0, 1], [5, 45])
    groups[columns.labels == 1] = np.repeat([0, 1, 2], [10, 5, 55])
    task = TuningTask([replace(columns, groups=groups)], PRESENT, ("lightgbm",), 0)
    with pytest.raises(ManifestError, match="no split of it has reals and fakes on either side"):
        task.splits  # noqa: B018


def test_detectors_without_embeddings_are_tuned_by_what_they_have(quick, tmp_path):
    columns = draw_halved()
    none = np.empty((len(columns), 0), np.float16)
    for embeddings in ((none,) * 3, ()):
        task = make_task([replace(columns, embeddings=embeddings)])
        assert "pca_components" not in build_space(task)
    assert {values["pca_components"] for _, _, values, *_ in make(task, tmp_path, 3)} == {3}


def test_the_present_settings_come_first(quick, tmp_path):
    made = make(make_task(names=tuning.TUNABLE), tmp_path, 4)
    present = {name: getattr(PRESENT, name) for name in SETTINGS}
    assert [row[1] for row in made[:2]] == list(tuning.TUNABLE)
    assert [row[2] for row in made[:2]] == [present, present]
    assert made[0][4] == 0.0
    assert all(row[2] != present for row in made[2:])


def test_better_settings_are_found_and_hopeless_ones_pruned(quick, tmp_path):
    task = make_task(settings=PRESENT.model_copy(update={"inner_folds": 5}))
    attempts = search(open_study(tmp_path / "j", task.key), task, SearchBudget(1000, 30))
    best = results.rank_attempts(attempts)[0]
    assert best.gain > 0.005
    assert 0.07 < best.values["learning_rate"] < 0.14
    pruned = [a for a in attempts if a.pruned]
    assert pruned
    assert {a.splits for a in pruned} <= {3, 4}
    assert max(a.gain for a in pruned) < best.gain
    shares = results.measure_importance(open_study(tmp_path / "j", task.key), 0)
    assert max(shares, key=shares.get) == "learning_rate"


def test_of_equals_the_present_ones_are_the_best(monkeypatch, tmp_path):
    monkeypatch.setattr(tuning, "measure_splits", lambda task, *rest: iter([0.5] * 3))
    task = make_task()
    study = open_study(tmp_path / "j", task.key)
    attempts = search(study, task, SearchBudget(1000, 12))
    assert results.rank_attempts(attempts)[0].is_present
    assert results.measure_importance(study, 0) == {}


def test_same_seed_same_trials(quick, tmp_path):
    one, same, other = (
        make(make_task(seed=seed), tmp_path / name, 4)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert one == same
    assert [row[2] for row in one[1:]] != [row[2] for row in other[1:]]


def test_the_untouched_half_never_reaches_the_search(tmp_path, monkeypatch):
    columns = draw_halved()
    poison = ~columns.tuning
    spoilt = replace(
        columns,
        labels=np.where(poison, 1 - columns.labels, columns.labels).astype(np.int8),
        logits=np.where(poison[:, None], np.nan, columns.logits),
        embeddings=tuple(np.where(poison[:, None], np.nan, e) for e in columns.embeddings),
        weights=np.where(poison, np.nan, columns.weights),
    )
    seen = set()
    fit = tuning.fit_candidate

    def spy(name, folds, *rest):
        for part in folds:
            seen.update(part.row_ids)
        return fit(name, folds, *rest)

    monkeypatch.setattr(tuning, "fit_candidate", spy)
    wanted = make(make_task([columns]), tmp_path / "a", 3)
    assert make(make_task([spoilt]), tmp_path / "b", 3) == wanted
    assert seen == set(columns.row_ids[columns.tuning])


@pytest.mark.parametrize("after", [0, 1, 4, 8, 40])
def test_a_stopped_search_finds_what_an_unbroken_one_does(quick, tmp_path, monkeypatch, after):
    names, trials = tuning.TUNABLE, 14
    wanted = make(make_task(names=names), tmp_path / "whole", trials)
    parts, measure = count(), tuning.measure_splits

    def interrupt(*task):
        for auc in measure(*task):
            if next(parts) == after:
                raise KeyboardInterrupt
            yield auc

    monkeypatch.setattr(tuning, "measure_splits", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make(make_task(names=names), tmp_path / "broken", trials)
    journal = tmp_path / "broken" / "trials.journal"
    with open(journal, "a") as file:  # what a power cut may leave
        file.write('{"op_code":4,"wor')
    (tmp_path / "broken" / "trials.journal.lock").symlink_to(journal)
    assert make(make_task(names=names), tmp_path / "broken", trials) == wanted


def test_other_rows_settings_or_seeds_start_anew(quick, tmp_path):
    columns = draw_halved()
    tasks = [
        make_task([columns]),
        make_task([columns], seed=1),
        make_task([columns], names=tuning.TUNABLE),
        make_task([columns.take(np.arange(len(columns)) > 3)]),
        make_task([replace(columns, digests=("a", "b", "d"))]),
        make_task([columns], settings=PRESENT.model_copy(update={"bags": 2})),
    ]
    assert len({task.key for task in tasks}) == len(tasks)
    assert make_task([columns]).key == tasks[0].key
    assert len(make(tasks[0], tmp_path, 4)) == 4
    assert len(make(tasks[1], tmp_path, 2)) == 2
    assert len(make(tasks[0], tmp_path, 5)) == 5


def test_what_is_no_journal_is_named(tmp_path):
    path = tmp_path / "j"
    path.write_text("no journal\nat all\n")
    with pytest.raises(IntegrityError, match="no journal of trials"):
        open_study(path, "k")


def test_a_budget_counts_all_runs():
    def attempt(seconds):
        values = dict.fromkeys((f.name for f in fields(results.Attempt)), 0)
        return results.Attempt(**values | {"seconds": seconds})

    assert SearchBudget(1.0).allows([attempt(20), attempt(20)])
    assert not SearchBudget(1.0).allows([attempt(20), attempt(21)])  # a third would not end in time
    assert not SearchBudget(0.0).allows([attempt(20)])
    assert not SearchBudget(1.0, trials=2).allows([attempt(1), attempt(1)])
    assert SearchBudget(1.0, trials=3).allows([attempt(1), attempt(1)])


# --- what is searched


@pytest.mark.parametrize(
    "odd",
    [
        {"num_leaves": 500, "min_data_in_leaf": 1},
        {"lambda_l2": 0.0},
        {"class_weight": 0.234, "pca_components": 300},
        {"learning_rate": 0.0512345, "feature_fraction": 0.01},
    ],
)
def test_present_settings_are_tried_as_they_are_however_odd(quick, tmp_path, odd):
    settings = PRESENT.model_copy(update=odd)
    task = make_task(settings=settings)
    made = make(task, tmp_path, 3)
    assert {name: made[0][2][name] for name in odd} == odd
    assert made[0][4] == 0.0
    for row in made:
        Stack(**row[2])


def test_what_is_tried_can_be_written_down(quick, tmp_path):
    for row in make(make_task(), tmp_path, 4)[1:]:
        for name, value in row[2].items():
            if isinstance(value, float):
                assert float(f"{value:.3g}") == value, name
        assert read_settings(PRESENT, row[2]).model_dump(include=set(SETTINGS)) == row[2]


def test_components_beyond_the_embeddings_are_not_tried():
    assert build_space(make_task())["pca_components"].high == draw_columns().embeddings[0].shape[1]


def test_candidates_are_those_that_are_declared_and_have_rows(monkeypatch):
    folds = [draw_halved()]
    assert choose_candidates(folds, PRESENT, None) == ("lightgbm",)
    for wanted, declared, said in [
        ("lightgbm_pca", ("lightgbm", "lightgbm_pca"), "--candidate"),  # too few rows
        ("random_forest", ("lightgbm", "random_forest"), "lightgbm of lightgbm, lightgbm_pca"),
        (None, ("random_forest",), "stack.candidates"),
    ]:
        settings = PRESENT.model_copy(update={"candidates": declared})
        with pytest.raises(ConfigError, match=said):
            choose_candidates(folds, settings, wanted)
    monkeypatch.setattr(candidates, "LEAST_ROWS", 20)
    assert choose_candidates(folds, PRESENT, None) == tuning.TUNABLE
    assert choose_candidates(folds, PRESENT, "lightgbm_pca") == ("lightgbm_pca",)


# --- the command

PARAMS = Path("params.yaml")
LAYOUT = """\
# why this file
seed: 0
folds: {count: 3, active: [0]}
backbones: {net-a: {}, net-b: {}, net_c: {}}
outside: {}
stack:
  inner_folds: 3
  repeats: 1
  candidates: [lightgbm]   # alone
  pca_components: 4
  bags: 1
  max_rounds: 12
  learning_rate: 0.2       # quick
  num_leaves: 15    # more than there are rows for
gate: {margin: 0.0005}     # to ship
decision: {threshold: balanced_accuracy}
label: {prior: train}
"""


@pytest.fixture
def favour(monkeypatch, enter):
    """The world of one fold, and a search that finds one setting to be better than the present."""
    world = enter("one fold")
    PARAMS.write_text(LAYOUT)
    ask = tuning._ask

    def find(name: str, value: float) -> None:
        def measure(task, candidate, settings):
            yield from [0.7 if getattr(settings, name) == value else 0.6] * len(task.splits)

        def propose(study, task, space, done):
            if done:
                present = {setting: getattr(task.settings, setting) for setting in SETTINGS}
                study.enqueue_trial(present | {"candidate": "lightgbm", name: value})
            return ask(study, task, space, done)

        monkeypatch.setattr(tuning, "measure_splits", measure)
        monkeypatch.setattr(tuning, "_ask", propose)

    assert world.plan.active == (0,)
    return find


def run(**rest) -> dict:
    return tune.run(load_params(TuneParams), budget=SearchBudget(1000, 2), **rest)


class Decided(Exception):
    """Verdicts of the gate: what `stack` does after them takes long."""


def test_what_was_found_is_judged_by_the_other_half_as_stack_will(favour, capsys, monkeypatch):
    judge, made = tune.judge_tuned, []
    monkeypatch.setattr(tune, "judge_tuned", lambda *task: made.append(judge(*task)) or made[0])
    favour("num_leaves", 9)  # much the same trees
    facts = run()
    assert PARAMS.read_text() == LAYOUT
    assert facts["changes"] == {"stack.num_leaves": 9, "gate.rows": "untuned"}
    assert facts == json.loads((tune.OUT / "tuning.json").read_text())
    said = capsys.readouterr().out
    assert "dvc exp run -S 'stack.num_leaves=9' -S '+gate.rows=untuned'\n" in said
    assert "]: these rows cannot tell them apart." in said
    monkeypatch.setattr(tune, "judge_tuned", lambda *task: made[0])
    run(write=True)
    wanted = LAYOUT.replace("15    #", "9     #")
    assert PARAMS.read_text() == wanted.replace("{margin", "{rows: untuned, margin")

    def stop(verdicts, simple):
        raise Decided(verdicts)

    monkeypatch.setattr(choice, "choose_shipped", stop)
    with pytest.raises(Decided) as decided:
        stack.run(load_params(StackParams))
    (verdict,) = decided.value.args[0]
    assert verdict.to_json() == facts["judged"]["against_simple"]


def test_settings_that_the_other_half_finds_worse_are_not_written(favour, capsys, monkeypatch):
    monkeypatch.setattr(boosted, "FEWEST_LEAVES", 1)
    favour("min_data_in_leaf", 200)  # more than there are: no tree has a split
    facts = run(write=True)
    assert facts["judged"]["against_present"]["high"] < 0
    assert facts["changes"] == {}
    assert "tuned is worse: the present settings stay" in capsys.readouterr().out
    assert PARAMS.read_text() == LAYOUT


@pytest.mark.parametrize(
    ("low", "high", "groups", "said"),
    [
        (0.001, 0.003, 20, ": tuned is better."),
        (-0.003, -0.001, 20, ": tuned is worse: the present settings stay."),
        (-0.001, 0.003, 20, ": these rows cannot tell them apart."),
        (0.001, 0.003, 19, ": not to be relied on, as a class has but 19 groups there."),
        (-0.003, -0.001, 2, ": not to be relied on, as a class has but 2 groups there."),
    ],
)
def test_what_is_said_of_an_interval(low, high, groups, said):
    verdict = Verdict("lightgbm", 0.0, -0.1, 0.1, -0.1, "too few rows to tell", groups)
    judged = results.Judgement(50, 60, groups, Gain(0.002, low, high), verdict)
    best = results.Attempt(3, "lightgbm", False, {}, 0.9, 0.01, 3, False, 1.0)
    texts = results.describe_findings(best, 9, judged)
    assert texts[1].endswith(f"AUC +0.0020 [{low:+.4f}, {high:+.4f}]{said}")
    assert judged.is_worse == ("worse" in said)
    assert texts[2].endswith("lightgbm: +0.0000 [-0.1000, +0.1000]: too few rows to tell.")


def test_nothing_is_judged_where_the_present_settings_are_the_best(favour, capsys):
    favour("learning_rate", 0.2)
    facts = run(write=True)
    assert (facts["judged"], facts["changes"]) == (None, {})
    assert "Nothing to change: the present settings are the best of 2" in capsys.readouterr().out
    assert PARAMS.read_text() == LAYOUT


def test_two_at_once_are_refused(enter):
    enter("one fold")
    params = load_params(TuneParams)
    with hold(tune.OUT, Path(params.resume_dir)), pytest.raises(LockedError):
        tune.run(params)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_as_one_that_goes_on(enter, monkeypatch, number):
    enter("one fold")
    fit, fits = tuning.fit_candidate, count()

    def stop(*parts):
        if next(fits) in (1, 5):
            os.kill(os.getpid(), number)
        return fit(*parts)

    monkeypatch.setattr(tuning, "fit_candidate", stop)
    monkeypatch.setattr(sys, "argv", ["tune", "--trials", "3"])
    said = rf"\({signal.Signals(number).name}\) after 0 trials\. The same command goes on"
    with pytest.raises(Stopped, match=said):
        tune.run(load_params(TuneParams))
    ends = []
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            run_stage("stage2_ensemble.tune", main)
        ends.append(end.value.code or 0)
    assert ends == [75, 0]
    assert len(json.loads((tune.OUT / "tuning.json").read_text())["attempts"]) == 3


def test_problems_end_the_command_with_one_message(enter, monkeypatch, capsys):
    enter("one fold")

    def call(*options: str) -> str:
        monkeypatch.setattr(sys, "argv", ["tune", *options])
        with pytest.raises(SystemExit) as end:
            run_stage("stage2_ensemble.tune", main)
        assert end.value.code == 2
        return capsys.readouterr().err

    assert "none of lightgbm, lightgbm_pca can be tuned" in call("--set", "stack.candidates=[]")
    assert "lightgbm of lightgbm, lightgbm_pca can be tuned" in call("--candidate", "forest")
    monkeypatch.setattr(columns, "draw_half", lambda groups, *rest: np.ones(len(groups), bool))
    assert "the half that is left to judge holds 0 groups of reals" in call()
    assert not tune.OUT.exists()
