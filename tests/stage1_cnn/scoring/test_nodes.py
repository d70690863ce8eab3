"""Two machines, as two launchers on this one: what dies or hangs ends the job, by name."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from project_copy import Project
from safetensors.numpy import load_file

pytestmark = pytest.mark.scale
PATIENCE = 20
"""Seconds until a process is given up; busy machines are slow."""


@pytest.fixture
def project(finished_tiny: Project, tmp_path: Path) -> Project:
    copy = finished_tiny.copy(tmp_path / "copy")
    params = copy.read_params()
    # Layer norm: statistics of batch norm are each process's own.
    params["backbones"] = {"resnet": {"model": "test_convnext", "schedule": {"epochs": 40}}}
    copy.write_params(params)
    return copy


class Machines:
    """Two launchers with two processes each, which train one network."""

    def __init__(self, project: Project, out: str, patience: float = 300) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
        launcher += ["--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-id", "7"]
        launcher += ["--rdzv-endpoint", f"127.0.0.1:{port}", "-m", "stage1_cnn.train"]
        launcher += ["--backbone", "resnet", "--fold", "0", "--save-minutes", "0.01", "--out", out]
        environment = {**os.environ, "FORGERYSTACK_PROCESS_TIMEOUT": str(patience)}
        environment.pop("PYTHONPATH", None)
        self.logs = [project.folder / f"machine{i}.log" for i in range(2)]
        self.launchers = []
        for log in self.logs:
            with open(log, "wb") as said:
                self.launchers.append(
                    subprocess.Popen(
                        launcher, cwd=project.folder, env=environment, stdout=said, stderr=said
                    )
                )

    @property
    def said(self) -> str:
        return "".join(log.read_text(encoding="utf-8") for log in self.logs)

    def wait_for(self, text: str) -> None:
        end = time.monotonic() + 300
        while text not in self.said:
            assert time.monotonic() < end, self.said
            assert all(launcher.poll() is None for launcher in self.launchers), self.said
            time.sleep(0.05)

    def find_workers(self, machine: int) -> list[int]:
        children = f"/proc/{self.launchers[machine].pid}/task"
        found = []
        for task in os.listdir(children):
            found += map(int, Path(children, task, "children").read_text().split())
        return sorted(found)

    def wait(self) -> list[int]:
        return [launcher.wait(timeout=240) for launcher in self.launchers]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "hung"])
def test_a_lost_process_is_named_and_the_same_command_goes_on(project, number) -> None:
    cut = Machines(project, "cut", PATIENCE)
    cut.wait_for("epoch 2/40")
    workers = cut.find_workers(0) + cut.find_workers(1)
    lost = cut.find_workers(1)[-1]
    os.kill(lost, number)
    start = time.monotonic()
    assert all(cut.wait()), cut.said
    assert time.monotonic() - start < 120  # a launcher kills what hangs after 30 s
    assert re.search(rf"process \d of 4 \({socket.gethostname()}, pid {lost}\) ended ", cut.said)
    assert not [pid for pid in workers if is_alive(pid)]
    assert not (project.folder / "cut" / "member.json").exists()

    again = Machines(project, "cut")
    assert again.wait() == [0, 0], again.said
    assert "goes on after" in again.said
    whole = Machines(project, "whole")
    assert whole.wait() == [0, 0], whole.said
    first, other = (load_file(project.folder / n / "weights.safetensors") for n in ("cut", "whole"))
    assert first.keys() == other.keys()
    for name, values in first.items():
        assert abs(values - other[name]).max() < 1e-4, name
