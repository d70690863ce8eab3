"""What members cost: measured beside the results, and only of the networks in use."""

from dataclasses import replace

import pytest

from features.runtime.costs import UNKNOWN, Cost, Measured, read_costs, record_seconds

BACKBONES = ("a", "b")
DIGESTS = {0: ("a0", "b0"), 2: ("a2", "b2")}


def record(folder, work, backbone, fold, **changes):
    measured = Measured(f"{backbone}{fold}", 30.0, 1000, 1000)
    record_seconds(work, backbone, fold, replace(measured, **changes), folder)


def test_folds_are_added_up(tmp_path):
    for fold in DIGESTS:
        record(tmp_path, "train", "a", fold)
        record(tmp_path, "dump", "a", fold, seconds=4.0, images=2000, total=2000)
    costs = read_costs(BACKBONES, DIGESTS, tmp_path)
    assert costs == {"a": Cost(minutes=1.0, seconds=4.0), "b": UNKNOWN}


def test_a_run_that_went_on_counts_what_came_before_at_its_own_pace(tmp_path):
    record(tmp_path, "train", "a", 0, images=250)
    (cost,) = read_costs(["a"], {0: ["a0"]}, tmp_path).values()
    assert cost == Cost(minutes=2.0, seconds=None)


def test_one_that_had_nothing_left_to_do_keeps_the_measurement(tmp_path):
    record(tmp_path, "train", "a", 0)
    record(tmp_path, "train", "a", 0, seconds=0.1, images=0)
    (cost,) = read_costs(["a"], {0: ["a0"]}, tmp_path).values()
    assert cost.minutes == 0.5


@pytest.mark.parametrize("changes", [{"member": "another"}, None])
def test_another_network_or_none_is_not_known(tmp_path, changes):
    record(tmp_path, "train", "a", 0)
    if changes:
        record(tmp_path, "train", "a", 2, **changes)
    assert read_costs(BACKBONES, DIGESTS, tmp_path)["a"] == UNKNOWN


def test_without_the_folder_nothing_is_known(tmp_path):
    assert read_costs(BACKBONES, DIGESTS, tmp_path / "none") == {"a": UNKNOWN, "b": UNKNOWN}


@pytest.mark.fault(
    "a damaged measurement in `.seconds`",
    "warning; the cost is not known",
    "Damaged and foreign files",
)
@pytest.mark.parametrize(("old", "new"), [("30.0", "30.1"), ('"seconds"', '"minutes"'), ("{", "")])
def test_a_damaged_measurement_is_not_known(tmp_path, caplog, old, new):
    record(tmp_path, "train", "a", 0)
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text().replace(old, new))
    assert read_costs(["a"], {0: ["a0"]}, tmp_path) == {"a": UNKNOWN}
    assert f"{path} is damaged" in caplog.text
