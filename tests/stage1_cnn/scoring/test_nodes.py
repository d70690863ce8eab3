"""Two machines, as two launchers on this one: what dies or hangs ends the job, by name."""

import signal
from pathlib import Path

import pytest
from machines import PATIENCE, Machines
from project_copy import Project
from safetensors.numpy import load_file

pytestmark = pytest.mark.scale


@pytest.fixture
def project(finished_tiny: Project, tmp_path: Path) -> Project:
    copy = finished_tiny.copy(tmp_path / "copy")
    params = copy.read_params()
    # Layer norm: statistics of batch norm are each process's own.
    params["backbones"] = {"resnet": {"model": "test_convnext", "schedule": {"epochs": 40}}}
    copy.write_params(params)
    return copy


def train(project: Project, out: str, patience: float = 300) -> Machines:
    program = ["-m", "stage1_cnn.train", "--backbone", "resnet", "--fold", "0"]
    return Machines(project.folder, [*program, "--save-minutes", "0.01", "--out", out], patience)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "hung"])
def test_a_lost_process_is_named_and_the_same_command_goes_on(project, number) -> None:
    cut = train(project, "cut", PATIENCE)
    cut.wait_until(lambda: "epoch 2/40" in cut.said)
    cut.lose(number)
    assert not (project.folder / "cut" / "member.json").exists()

    again = train(project, "cut")
    assert again.wait() == [0, 0], again.said
    assert "goes on after" in again.said
    whole = train(project, "whole")
    assert whole.wait() == [0, 0], whole.said
    first, other = (load_file(project.folder / n / "weights.safetensors") for n in ("cut", "whole"))
    assert first.keys() == other.keys()
    for name, values in first.items():
        assert abs(values - other[name]).max() < 1e-4, name
