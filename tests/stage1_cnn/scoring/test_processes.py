"""Two processes give what one gives; a row is worked on once."""

import pytest
import torch
from programs import run_program
from together import JOBS, ask_the_others, make_task, train

from features.errors import ConfigError
from features.runtime.interruption import Interruption
from features.settings.learning import Augment, Schedule
from stage1_cnn.runtime.session import Sessions
from stage1_cnn.scoring.processes import Processes

pytestmark = pytest.mark.slow
ALONE = Processes(torch.device("cpu"))
THROUGH = Sessions(ALONE, Interruption())
TOLERANCE = 2e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("together")


@pytest.fixture(scope="module")
def pair(folder, programs):
    """What two processes have found."""
    python = programs / "python"
    launcher = (python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    assert run_program("together", folder, python=(*launcher, "--no-python", python)) == {
        "world": 2
    }
    return torch.load(folder / "found.pt")


@pytest.fixture(scope="module")
def alone(folder):
    """One process, with the same task."""
    return make_task(folder, "alone")


def check_same(found, wanted):
    for name, value in wanted["state"].items():
        torch.testing.assert_close(found["state"][name], value, atol=TOLERANCE, rtol=TOLERANCE)
    for row, other in zip(found["history"], wanted["history"], strict=True):
        # One pair of rows in another order moves an AUC by 0.004.
        for name, value in other.items():
            margin = {"abs": 0.01} if name.endswith("_auc") else {"rel": TOLERANCE}
            assert row[name] == pytest.approx(value, **margin), name
    for weights, figures in wanted["judged"].items():
        assert found["judged"][weights] == pytest.approx(figures, rel=0.01)


@pytest.mark.parametrize("job", JOBS)
def test_the_number_of_processes_changes_no_result_beyond_rounding(pair, alone, job):
    check_same(pair[job], train(job, alone, THROUGH))


def test_each_process_draws_both_classes(pair):
    for row in pair["plain"]["history"]:
        assert row["real_share_rank0"] == pytest.approx(0.5, abs=0.04)
        assert row["real_share_rank1"] == pytest.approx(0.5, abs=0.04)


@pytest.mark.fault(
    "going on with another number of processes",
    "goes on: the same rows are drawn, equal up to rounding",
    "Disks, signals, kills",
)
def test_what_two_processes_have_begun_one_can_end(pair, alone, folder):
    sessions = Sessions(ALONE, Interruption(), folder / "states")
    check_same(train("mixed", alone, sessions), train("mixed", alone, THROUGH))


def test_rows_whose_loss_is_no_number_are_named_by_all(pair):
    assert pair["poisoned"].startswith("NotFiniteError: loss of 4 steps in a row, 1 to 4")
    assert "(15 rows)" in pair["poisoned"]  # of the second process alone


def test_gathered_rows_are_there_once_and_in_order(pair):
    rows = [[float(i), 10.0 * i] for i in range(7)]
    assert pair["asked"] == {
        "gathered": rows, "few": [0], "none": (0, 3), "any": [True, False], "sum": 3.0,
        "shared": {"from": 0}, "collected": [0, 1],
    }  # fmt: skip
    assert ask_the_others(ALONE) == {
        "gathered": rows, "few": [0], "none": (0, 3), "any": [False, False], "sum": 1.0,
        "shared": {"from": 0}, "collected": [0],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"schedule": Schedule(batch_size=16, accumulate=16)}, "batch of 16 is too small for 2"),
        (
            {"schedule": Schedule(batch_size=16), "augment": Augment(mixup=0.5)},
            "must be a multiple of 32",
        ),
    ],
)
def test_batches_that_cannot_be_shared_out_are_refused(alone, monkeypatch, changes, problem):
    monkeypatch.setitem(JOBS, "odd", changes)
    with pytest.raises(ConfigError, match=problem):
        train("odd", alone, Sessions(Processes(torch.device("cpu"), 0, 2), Interruption()))
