"""Members trained side by side: who is next on which device, and what is kept of it."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import timm
import torch
from project_copy import ROOT, Project
from safetensors.torch import save_file

from features.errors import ConfigError, DvcError, StaleArtifactError, TrainingError
from features.inputs.settings import AllParams, check_all_params
from features.runtime.cli import STOPPED
from features.runtime.interruption import Interruption
from features.settings.sections import read_yaml
from stage1_cnn.train import run as train
from stage1_cnn.train.__main__ import main as train_one
from stage1_cnn.train_all import run as train_all
from stage1_cnn.train_all.__main__ import main
from stage1_cnn.train_all.dvc_stages import list_changes
from stage1_cnn.train_all.plan import choose_devices, choose_members, parse_devices, sort_by_work
from stage1_cnn.train_all.process import Name, describe_surroundings
from stage1_cnn.train_all.side_by_side import Queue, SideBySide

A, B, C, D = (Name(letter, 0) for letter in "abcd")
LONG = {"model": "test_convnext", "schedule": {"epochs": 20, "warmup_epochs": 1}}


def test_a_free_device_takes_the_next_member():
    queue = Queue([A, B, C, D], ["cuda:0", "cuda:1"])
    assert queue.hand_out() == [(A, "cuda:0"), (B, "cuda:1")]
    assert queue.hand_out() == []
    queue.give_back("cuda:1")
    assert queue.hand_out() == [(C, "cuda:1")]
    queue.close()
    queue.give_back("cuda:0")
    assert queue.hand_out() == []
    assert queue.left == [D]


class Pretended:
    """A training that ends by itself after so many looks, or when it is asked to."""

    def __init__(self, name: Name, device: str, looks: int, code: int) -> None:
        self.name, self.device, self.looks, self.code = name, device, looks, code

    def find_code(self) -> int | None:
        self.looks -= 1
        return self.code if self.looks < 0 else None

    def stop(self) -> None:
        self.looks, self.code = 0, STOPPED

    def kill(self) -> None:
        raise AssertionError


def run_pretended(plan: dict[Name, tuple[int, int]], interruption: Interruption | None = None):
    """`plan`: looks and exit codes. What started where, what ended how, what is left."""
    started, ended = [], []

    def start(name: Name, device: str) -> Pretended:
        started.append((name, device))
        return Pretended(name, device, *plan[name])

    def finish(training: Pretended, code: int, asked: bool) -> None:
        ended.append((training.name, code, asked))

    queue = Queue(list(plan), ["x", "y"])
    SideBySide(queue, start, finish, interruption or Interruption()).run()
    return started, ended, queue.left


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("stage1_cnn.train_all.side_by_side.TICK", 0.001)


@pytest.mark.usefixtures("quick")
def test_a_failure_stops_no_other():
    started, ended, left = run_pretended({A: (50, 0), B: (0, 2), C: (2, 1), D: (3, 0)})
    assert started == [(A, "x"), (B, "y"), (C, "y"), (D, "y")]
    assert ended == [(B, 2, False), (C, 1, False), (D, 0, False), (A, 0, False)]
    assert not left


@pytest.mark.usefixtures("quick")
def test_after_one_that_stopped_nobody_starts():
    _, ended, left = run_pretended({A: (50, 0), B: (0, STOPPED), C: (0, 0)})
    assert ended == [(B, STOPPED, False), (A, 0, False)]
    assert left == [C]


@pytest.mark.usefixtures("quick")
def test_with_no_time_left_all_stop(monkeypatch):
    interruption = Interruption()
    reasons = iter([None] * 5)
    monkeypatch.setattr(interruption, "find_reason", lambda: next(reasons, "time is over"))
    started, ended, left = run_pretended({A: (10**9, 0), B: (10**9, 0), C: (0, 0)}, interruption)
    assert [name for name, _ in started] == [A, B]
    assert ended == [(A, STOPPED, True), (B, STOPPED, True)]
    assert left == [C]


def test_an_error_leaves_no_training_behind(monkeypatch, quick):
    made = []

    def start(name: Name, device: str) -> Pretended:
        if made:
            raise OSError("no more processes")
        made.append(Pretended(name, device, 10**9, 0))
        return made[0]

    with pytest.raises(OSError, match="no more"):
        SideBySide(Queue([A, B], ["x", "y"]), start, print, Interruption()).run()
    assert made[0].code == STOPPED


def test_what_is_kept_is_what_was_made_from_the_settings_of_now(monkeypatch):
    kept: list[str] = []
    sources = {A: iter("aa"), B: iter("bc"), C: iter("dd"), D: iter("ee")}
    monkeypatch.setattr(train_all, "read_sources", lambda name: next(sources[name]))
    monkeypatch.setattr(train_all, "TrainingProcess", lambda name, device, _: Ended(name, device))

    def commit(stage: str) -> None:
        if stage == C.stage:
            raise DvcError("commit", "it is locked")
        kept.append(stage)

    monkeypatch.setattr(train_all, "commit", commit)
    keeper = train_all.Keeper({})
    trainings = [keeper.start(name, "cpu") for name in (A, B, C, D)]
    for training in trainings[:3]:
        keeper.finish(training, 0, False)
    keeper.finish(trainings[3], -15, True)
    assert kept == [A.stage]
    assert keeper.stopped == [D]
    assert [failure.partition(":")[0] for failure in keeper.failures] == [
        "b-0 was trained, but its settings, manifest or code have changed meanwhile",
        "c-0 is trained, but not kept",
    ]


@dataclass
class Ended:
    """A training that has ended."""

    name: Name
    device: str


@pytest.mark.parametrize(
    ("text", "cards", "devices"),
    [
        ("cpu", 0, ["cpu"]),
        ("cpu, cpu", 2, ["cpu", "cpu"]),
        ("cuda:1,cuda:0", 2, ["cuda:1", "cuda:0"]),
        ("cuda,cuda:0", 1, ["cuda:0", "cuda:0"]),
    ],
)
def test_devices_are_named(text, cards, devices):
    assert parse_devices(text, cards) == devices


def test_all_bad_devices_are_named_together():
    with pytest.raises(ConfigError) as error:
        parse_devices("cpu,cuda:2,gpu,", 2)
    assert error.value.problems == [
        "cuda:2: the cards are cuda:0 to cuda:1", "'gpu' is no device", "'' is no device",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="cuda: there is no CUDA card"):
        parse_devices("cuda", 0)


def test_devices_are_all_cards_unless_somebody_chose(monkeypatch):
    monkeypatch.delenv("FORGERYSTACK_DEVICE", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert choose_devices(None) == ["cuda:0", "cuda:1"]
    assert choose_devices("cuda:1") == ["cuda:1"]
    monkeypatch.setenv("FORGERYSTACK_DEVICE", "cpu")
    assert choose_devices(None) == ["cpu"]
    monkeypatch.delenv("FORGERYSTACK_DEVICE")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert choose_devices(None) == ["cpu"]


def test_cores_are_shared_out_and_the_limit_is_one(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    made = describe_surroundings(3, 50.0)
    assert made["OMP_NUM_THREADS"] == "5"
    assert made["FORGERYSTACK_MAX_MINUTES"] == "50.0"
    assert float(made["FORGERYSTACK_STARTED"]) <= time.time()
    assert "FORGERYSTACK_MAX_MINUTES" not in describe_surroundings(3, None)


@pytest.fixture
def params() -> AllParams:
    values = read_yaml(ROOT / "presets" / "tiny.yaml")
    values["folds"]["active"] = [0, 1]
    values["backbones"] = {
        "small": {"model": "test_efficientnet"},
        "tiny": {"model": "test_efficientnet", "image_size": 32},
        "large": {"model": "resnet18"},
    }
    return check_all_params(values)


def test_the_most_work_comes_first(params):
    members = choose_members(params, None)
    assert [str(name) for name in sort_by_work(params, members)] == [
        "large-0", "large-1", "small-0", "small-1", "tiny-0", "tiny-1",
    ]  # fmt: skip


def test_members_of_some_backbones_alone(params):
    assert choose_members(params, ["tiny", "small"]) == [
        ("small", 0), ("small", 1), ("tiny", 0), ("tiny", 1),
    ]  # fmt: skip
    with pytest.raises(ConfigError) as error:
        choose_members(params, ["tinny", "small", "huge"])
    assert error.value.problems[0] == "'tinny': unknown; did you mean tiny?"
    assert error.value.count == 2


@pytest.fixture(scope="module")
def project(finished_tiny, tmp_path_factory) -> Project:
    """The tiny task, ready to train on: a network of one epoch, and one that takes longer."""
    made = finished_tiny.copy(tmp_path_factory.mktemp("all") / "a b é")
    params = made.read_params()
    params["backbones"] = {"short": {"model": "test_resnet"}, "long": LONG}
    made.write_params(params)
    made.run("dvc", "repro", "prepare")
    return made


@pytest.fixture
def inside(project, monkeypatch) -> Project:
    monkeypatch.chdir(project.folder)
    return project


def start(project: Project, *options: str) -> subprocess.Popen:
    """The command; what it says goes into `said.txt`."""
    command = [sys.executable, "-m", "stage1_cnn.train_all", "--devices", "cpu,cpu", *options]
    with open(project.folder / "said.txt", "w") as said:
        return subprocess.Popen(command, cwd=project.folder, stdout=said, stderr=said)


def read_said(project: Project) -> str:
    return (project.folder / "said.txt").read_text()


def wait_until(condition, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def list_trainings(project: Project) -> list[int]:
    """Numbers of the processes that work in the project's folder, but for this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(path / "cwd") == str(project.folder):
                found.append(int(path.name))
        except OSError:
            continue
    return [number for number in found if number != os.getpid()]


def read_members(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.faults
def test_cut_off_the_same_command_ends_with_the_bytes_of_each_alone(inside, capfd):
    training = start(inside, "--backbone", "long", "--json")
    wait_until(lambda: '"epoch 2/20' in read_said(inside) or training.poll() is not None)
    training.send_signal(signal.SIGTERM)
    assert training.wait(timeout=120) == STOPPED, read_said(inside)
    assert not list_trainings(inside)
    events = [json.loads(line) for line in read_said(inside).splitlines()]
    assert "long-0 to go on (SIGTERM). The same command goes on" in events[-1]["message"]
    ends = [event for event in events if event["event"] in ("done", "stopped")]
    assert [event["stage"] for event in ends] == ["stage1_cnn.train_all"]
    assert {e["member"] for e in events if e["message"].startswith("epoch 2/20")} == {"long-0"}

    main("cpu,cpu")
    said = capfd.readouterr().out
    assert "long-0 | goes on after step" in said
    assert "Keep it" not in said
    for backbone in ("short", "long"):
        alone = Path("trials", backbone)
        train_one(backbone, 0, alone)
        assert read_members(alone) == read_members(train.OUT / backbone / "0")
    assert list_changes(["train@short-0", "train@long-0"]) == {}


@pytest.mark.faults
def test_one_that_fails_stops_no_other_and_only_what_changed_is_trained(inside, capfd, caplog):
    kept = inside.read_params()
    params = inside.read_params()
    params["backbones"]["broken"] = {"model": "test_vit", "pretrained": "nowhere.safetensors"}
    params["backbones"]["short"]["optimizer"] = {"lr": 1e-3}
    inside.write_params(params)
    with pytest.raises(TrainingError) as error:
        main("cpu,cpu")
    (failure,) = error.value.problems
    assert failure.startswith("broken-0: exit code 2: ")
    assert "nowhere.safetensors" in failure
    assert "short-0 | " in (said := capfd.readouterr().out)
    assert "long-0 | " not in said
    assert list(list_changes(["train@short-0", "train@broken-0"])) == ["train@broken-0"]
    inside.write_params(kept)
    caplog.clear()
    caplog.set_level("INFO")
    main("cpu")  # DVC has kept what these settings gave
    assert caplog.messages == [
        "restored from DVC's cache: short-0", "up to date: short-0, long-0",
    ]  # fmt: skip
    assert " | " not in capfd.readouterr().out


@pytest.mark.scale
def test_other_weights_in_a_file_of_the_same_name_are_noticed(inside, capfd):
    params = inside.read_params()
    params["backbones"] = {
        "new": {**params["backbones"]["short"], "pretrained": "start.safetensors"}
    }
    inside.write_params(params)
    for seed in (1, 2):
        torch.manual_seed(seed)
        save_file(timm.create_model("test_resnet").state_dict(), "start.safetensors")
        main("cpu")
        assert "new-0 | " in capfd.readouterr().out
        main("cpu")
        assert "new-0 | " not in capfd.readouterr().out


@pytest.mark.slow
def test_nothing_is_trained_on_a_stale_manifest(inside, capfd):
    kept = inside.read_params()
    inside.write_params(kept | {"seed": 1})
    with pytest.raises(StaleArtifactError, match=r"another params.yaml .*dvc repro prepare"):
        main("cpu")
    inside.write_params(kept)
    assert " | " not in capfd.readouterr().out
