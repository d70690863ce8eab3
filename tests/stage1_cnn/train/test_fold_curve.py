"""Learning curves say how weights do on the fold left out, and change nothing."""

import itertools

import numpy as np
import pytest
import torch
from small_task import make_settings
from small_trainings import change_table, equal

from features.errors import Stopped
from features.runtime.interruption import Interruption
from features.settings.learning import Ema, Network, Schedule
from stage1_cnn.runtime.checkpoints import Checkpoints
from stage1_cnn.runtime.session import Session
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.train.fold_curve import Curve, build_curve, draw_curve_rows
from stage1_cnn.train.fold_metrics import judge_unseen
from stage1_cnn.train.loop import CURVE_COLUMNS, train_network

ALONE = Processes(torch.device("cpu"))


def set_schedule(**changes):
    return Schedule(**{"epochs": 3, "warmup_epochs": 0.5, "batch_size": 16, **changes})


def train(task, session=None, columns=None, **changes):
    settings = make_settings(**{"schedule": set_schedule(), **changes})
    learned = leave_fold_out((change_table(task[0], **(columns or {})), task[1]), settings)
    return train_network(learned, ALONE, session, build_curve(learned, ALONE))


def leave_fold_out(task, settings):
    manifest, store = task
    return TrainingTask(settings, store, manifest, manifest.rows_to_learn(0), 0)


def strip_curves(history):
    return [{k: v for k, v in row.items() if k not in CURVE_COLUMNS} for row in history]


def list_curve(trained, column):
    return [row[column] for row in trained.history]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"schedule": set_schedule(accumulate=3)},
        {"schedule": set_schedule(epochs=None, images=170)},
        {"model": "test_convnext", "network": Network(dropout=0.2, drop_path=0.1)},
        {"ema": Ema()},
    ],
    ids=lambda c: "-".join(c) or "plain",
)
def test_a_curve_changes_no_byte_of_the_weights(task, changes):
    found = train(task, **changes)
    schedule = changes.get("schedule", set_schedule()).model_copy(update={"curve_rows": 0})
    without = train(task, **{**changes, "schedule": schedule})
    assert equal(without.last_state, found.last_state)
    assert (without.ema_state is None) == (found.ema_state is None)
    assert equal(without.state, found.state)
    assert strip_curves(without.history) == strip_curves(found.history)
    assert all(row[name] is None for row in without.history for name in CURVE_COLUMNS)
    assert all(0 <= auc <= 1 for auc in list_curve(found, "raw_auc"))
    assert len(set(list_curve(found, "raw_log_loss"))) == len(found.history)


def test_a_curve_over_the_whole_fold_ends_where_the_weights_are_judged(task):
    found = train(task)  # 8 reals and 32 fakes: all of them are in the sample
    learned = leave_fold_out(task, make_settings())
    judged = judge_unseen(found, learned, task[0].fold_rows(0), ALONE)
    for name, figure in itertools.product(("raw", "ema"), ("auc", "log_loss")):
        assert found.history[-1][f"{name}_{figure}"] == pytest.approx(judged[name].figures[figure])
    assert list_curve(found, "raw_log_loss") != list_curve(found, "ema_log_loss")


def test_the_network_of_the_curve_judges_as_a_new_one(task):
    found, learned = train(task), leave_fold_out(task, make_settings())
    new, used = (
        judge_unseen(found, learned, task[0].fold_rows(0), ALONE, engine)
        for engine in (None, build_curve(learned, ALONE).engine)
    )
    for name, own in new.items():
        assert own.figures == used[name].figures
        assert np.array_equal(own.log_odds, used[name].log_odds)


def test_without_an_average_its_curve_is_empty(task):
    found = train(task, ema=Ema())
    assert list_curve(found, "ema_auc") == list_curve(found, "ema_log_loss") == [None] * 3
    assert None not in list_curve(found, "raw_auc")


def test_a_fold_with_one_class_has_no_curve(task):
    manifest, _ = task
    labels = manifest.labels.copy()
    labels[manifest.fold_rows(0)] = 1
    found = train(task, columns={"label": labels}, schedule=set_schedule(epochs=2))
    assert all(row[name] is None for row in found.history for name in CURVE_COLUMNS)


def test_scores_that_are_no_numbers_leave_a_gap_and_stop_nothing(task, monkeypatch):
    score, calls = Curve._score, itertools.count()
    monkeypatch.setattr(
        Curve, "_score", lambda self: score(self) * (np.nan if next(calls) == 2 else 1)
    )
    found = train(task)
    assert [auc is None for auc in list_curve(found, "raw_auc")] == [False, True, False]
    assert None not in list_curve(found, "ema_auc")


@pytest.mark.parametrize("stop_after", [7, 11])  # 7 steps an epoch
def test_a_resumed_training_has_the_same_curve(task, tmp_path, stop_after):
    class StopLater(Interruption):
        left = stop_after

        def find_reason(self, needed=0.0):
            self.left -= 1
            return "enough" if self.left == 0 else None

    def go_on(interruption):
        states = Checkpoints(tmp_path)
        return train(task, Session(ALONE, interruption, states))

    with pytest.raises(Stopped):
        go_on(StopLater())
    resumed, through = go_on(Interruption()), train(task)
    assert resumed.history == through.history
    assert equal(resumed.state, through.state)


def test_a_sample_holds_half_of_each_class_by_seed(task):
    labels = np.repeat(np.array([0, 1], np.int8), [30, 270])
    rows = np.arange(0, 300, 2)  # 15 reals, 135 fakes
    drawn = draw_curve_rows(labels, rows, 21, 0)
    assert np.bincount(labels[drawn]).tolist() == [11, 11]
    assert (np.diff(drawn) > 0).all()
    assert set(drawn) <= set(rows)
    np.testing.assert_array_equal(drawn, draw_curve_rows(labels, rows, 21, 0))
    assert set(drawn) != set(draw_curve_rows(labels, rows, 21, 1))
    assert np.bincount(labels[draw_curve_rows(labels, rows, 100, 0)]).tolist() == [15, 50]
    np.testing.assert_array_equal(draw_curve_rows(labels, rows, 500, 0), rows)
