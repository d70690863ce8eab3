"""The stage on a small project: settings, gain, and going on after every kind of end."""

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from dump_task import COUNTS, MEMBER, dump, make_project, read_files, read_train
from sklearn.metrics import roc_auc_score

from features.artifacts import row_blocks
from features.artifacts.dumps import read_dump
from features.artifacts.row_blocks import RowBlocks
from features.core.manifest import ROLES, read_manifest
from features.errors import ConfigError, LockedError, Stopped
from features.pixels.store import open_store
from features.runtime.interruption import Interruption
from features.runtime.locks import hold
from features.settings.images import Images
from stage1_cnn.dump import onnx
from stage1_cnn.dump.run import OUT
from stage1_cnn.networks.member import load_network, read_member
from stage1_cnn.networks.network import fit_image_size
from stage1_cnn.scoring import rows
from stage1_cnn.scoring.engines import TorchEngine, build_torch_engine

CPU = torch.device("cpu")
SIX = "dump.tta=six"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    make_project(folder)
    return folder


@pytest.fixture(autouse=True)
def project(place, monkeypatch):
    """The project as the current folder; small batches, each of them saved."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(rows, "CPU_BATCH", 8)
    monkeypatch.setattr(row_blocks, "SAVE_SECONDS", 0)


def score_by_hand(role, side=32, turn=lambda pixels: [pixels]):
    """Log-odds and embeddings of a role's rows, straight through the network."""
    member = read_member(MEMBER, "net", 0)
    network = load_network(MEMBER, member)
    fit_image_size(network, member.settings, side)
    settings = member.settings.model_copy(update={"image_size": side})
    engine = build_torch_engine(network, settings, CPU)
    manifest = read_manifest(Path("artifacts/manifest"), role)
    store = open_store(manifest, Path("data"), Images(size=48, store="none"))
    pixels = store.gather(manifest.rows_to_dump(0))
    scores = [engine(torch.from_numpy(p.copy())) for p in turn(pixels)]
    return [
        np.mean([part.numpy() for part in parts], axis=0) for parts in zip(*scores, strict=True)
    ]


def check_scores(out, **how):
    for role in ROLES:
        found = read_dump(out, read_manifest(Path("artifacts/manifest"), role), "net", 0)
        logits, embeddings = score_by_hand(role, **how)
        np.testing.assert_allclose(found.logits, logits, atol=1e-4)
        np.testing.assert_allclose(found.embeddings, embeddings, atol=1e-2, rtol=1e-2)


def test_seconds_of_scoring_lie_beside_the_dumps_but_not_those_of_trials(tmp_path):
    dump(tmp_path / "out", "dump.image_size=48")
    assert not Path(".seconds").exists()
    dump(OUT / "net/0", "dump.image_size=48")
    (file,) = Path(".seconds").iterdir()
    facts = json.loads(file.read_text())
    assert (file.name, facts["member"]) == (
        "dump-net-0.json",
        read_member(MEMBER, "net", 0).id.digest,
    )
    # Fold 0 of train, val and test; not fold 0 once more at the size of training.
    assert (
        facts["images"] == facts["total"] == COUNTS["train"] // 2 + COUNTS["val"] + COUNTS["test"]
    )
    assert facts["seconds"] > 0
    shutil.rmtree(".seconds")
    shutil.rmtree(OUT)


def test_each_row_is_scored_once_as_in_training(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    files = dump(tmp_path / "out")
    assert len(files) == 12
    check_scores(tmp_path / "out")
    assert "nothing acts on it" not in caplog.text
    assert list((tmp_path / "resume").glob("dump-*")) == []


@pytest.mark.parametrize(
    ("overrides", "how"),
    [
        (["dump.tta=hflip"], {"turn": lambda p: [p, p[:, :, ::-1]]}),
        (["dump.image_size=48"], {"side": 48}),
        (
            ["dump.image_size=40", "dump.backbones.net.tta=hflip"],
            {"side": 40, "turn": lambda p: [p, p[:, :, ::-1]]},
        ),
    ],
)
def test_views_and_size_are_those_of_the_settings(tmp_path, overrides, how):
    dump(tmp_path / "out", *overrides)
    check_scores(tmp_path / "out", **how)


def test_the_gain_on_the_fold_is_told_with_its_interval(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    plain, other = tmp_path / "plain", tmp_path / "other"
    dump(plain)
    dump(other, SIX, "dump.image_size=48")
    train = read_train()
    aucs = [
        roc_auc_score(train.labels[train.fold_rows(0)], read_dump(out, train, "net", 0).logits)
        for out in (plain, other)
    ]
    (line,) = [text for text in caplog.messages if "nothing acts on it" in text]
    number = r"[+-]?\d\.\d{3,4}"
    interval = rf"({number}) \[{number}, {number}\]"
    found = re.fullmatch(
        rf"dump net-0: fold 0: AUC {interval} plain at 32 px, {interval} with tta six at 48 px; "
        rf"difference {interval}\. To look at: nothing acts on it",
        line,
    )
    expected = [*aucs, aucs[1] - aucs[0]]
    told = np.array([float(x) for x in found.groups()])
    assert (np.abs(told - expected) < [6e-4, 6e-4, 1e-4]).all()


def test_a_size_that_a_transformer_cannot_see_is_told_before_any_work(tmp_path, monkeypatch):
    make_project(tmp_path, model="test_vit")
    monkeypatch.chdir(tmp_path)
    dump(tmp_path / "out", "dump.image_size=48")
    check_scores(tmp_path / "out", side=48)
    with pytest.raises(ConfigError, match="image_size 40: test_vit cannot see it"):
        dump(tmp_path / "out", "dump.image_size=40")


def test_onnx_runtime_dumps_the_same(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(onnx, "LEAST_PIXELS", 0)
    dump(tmp_path / "out", "dump.tta=hflip")
    assert "by ONNX Runtime" in caplog.text
    check_scores(tmp_path / "out", turn=lambda p: [p, p[:, :, ::-1]])


class Killed(BaseException):
    """What ends a process, as far as files can tell."""


def kill_at(monkeypatch, count):
    """Ends the run when it wants to write its batch number `count`; half of it is written."""
    add, calls = RowBlocks.add, []

    def add_and_count(self, start, arrays):
        calls.append(len(arrays[0]))
        if len(calls) == count:
            add(self, start, [array[:3] for array in arrays])
            raise Killed
        add(self, start, arrays)

    monkeypatch.setattr(RowBlocks, "add", add_and_count)
    return calls


def run_killed(monkeypatch, out, count, *overrides):
    with monkeypatch.context() as patch:
        kill_at(patch, count)
        with pytest.raises(Killed):
            dump(out, *overrides)


LAST = np.cumsum([-(-n // 8) for n in (45, 45, 40, 10)]).tolist()
"""Batches of train, the plain scores of the fold, val and test."""
BATCHES = LAST[-1]


@pytest.mark.fault("SIGKILL at any step")
@pytest.mark.parametrize("count", sorted({1, *LAST, *(last + 1 for last in LAST[:-1])}))
def test_killed_at_first_and_last_batches_the_same_command_gives_the_same_bytes(
    tmp_path, monkeypatch, expected, count
):
    run_killed(monkeypatch, tmp_path / "out", count, SIX)
    assert not (tmp_path / "out").exists()
    calls = kill_at(monkeypatch, None)
    assert dump(tmp_path / "out", SIX) == expected
    assert len(calls) == BATCHES - count + 1


@pytest.fixture(scope="module")
def expected(place, tmp_path_factory):
    """The dump of a run that nothing disturbed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(rows, "CPU_BATCH", 8)
        return dump(tmp_path_factory.mktemp("expected") / "out", SIX)


def test_a_damaged_block_is_scored_again(tmp_path, monkeypatch, expected, caplog):
    run_killed(monkeypatch, tmp_path / "out", 5, SIX)
    (path,) = (tmp_path / "resume").glob("dump-net-0-*/train.embeddings.npy")
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(content)
    calls = kill_at(monkeypatch, None)
    assert dump(tmp_path / "out", SIX) == expected
    assert len(calls) == BATCHES - 3
    assert "damaged" in caplog.text


@pytest.mark.fault("going on with other settings, code or data")
@pytest.mark.parametrize("override", ["dump.tta=hflip", "dump.image_size=40"])
def test_other_settings_start_anew_and_say_so(tmp_path, monkeypatch, caplog, override):
    caplog.set_level(logging.INFO)
    run_killed(monkeypatch, tmp_path / "out", 5)
    found = dump(tmp_path / "out", override)
    assert "but with another dump." in caplog.text
    assert found == dump(tmp_path / "other", override)
    assert list((tmp_path / "resume").glob("dump-net-0-*")) == []


def test_told_to_stop_it_keeps_every_batch_and_goes_on(tmp_path, monkeypatch, expected):
    asked = []

    def find_reason(self, needed):
        asked.append(needed)
        return "SIGTERM" if len(asked) == 4 else None

    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "find_reason", find_reason)
        patch.setattr(row_blocks, "SAVE_SECONDS", 1e9)
        with pytest.raises(Stopped, match=r"after 32 of 45 rows of train \(SIGTERM\)"):
            dump(tmp_path / "out", SIX)
    calls = kill_at(monkeypatch, None)
    assert dump(tmp_path / "out", SIX) == expected
    assert len(calls) == BATCHES - 4


@pytest.mark.fault("a second run into the same folder")
def test_a_second_dump_to_the_same_folder_is_refused(tmp_path):
    with (
        hold(tmp_path / "out", tmp_path / "resume"),
        pytest.raises(LockedError, match=str(os.getpid())),
    ):
        dump(tmp_path / "out")


RUN = """
import os, signal, sys
from features.runtime.cli import run_stage
from features.artifacts import row_blocks
from stage1_cnn.dump.__main__ import main
from stage1_cnn.scoring import rows as scoring
scoring.CPU_BATCH, row_blocks.SAVE_SECONDS = 8, 0
add, calls = row_blocks.RowBlocks.add, []
def add_and_kill(self, start, arrays):
    add(self, start, arrays)
    calls.append(start)
    if len(calls) == {count}:
        os.kill(os.getpid(), {signal})
row_blocks.RowBlocks.add = add_and_kill
run_stage("stage1_cnn.dump", main)
"""


def run_signalled(out, count, number):
    """The command in a process of its own, which gets a signal after some batches."""
    code = RUN.format(count=count, signal=int(number))
    command = [sys.executable, "-c", code, "--backbone", "net", "--out", str(out), "--set", SIX]
    root = Path(__file__).parents[3]
    return subprocess.run(
        [*command, "--set", f"resume_dir={out.parent / 'resume'}"],
        env={**os.environ, "PYTHONPATH": str(root)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.faults
def test_after_sigkill_and_sigterm_the_same_command_ends_it(tmp_path, expected):
    out = tmp_path / "out"
    assert run_signalled(out, 3, signal.SIGKILL).returncode == -signal.SIGKILL
    stopped = run_signalled(out, 3, signal.SIGTERM)
    assert stopped.returncode == 75, stopped.stdout
    assert "goes on after 16 of 45 rows" in stopped.stdout
    assert "SIGTERM" in stopped.stdout
    assert not out.exists()
    assert dump(out, SIX) == expected


def test_two_processes_score_each_row_once(tmp_path, expected, programs):
    out = tmp_path / "out"
    root = Path(__file__).parents[3]
    command = ["-m", "stage1_cnn.dump", "--backbone", "net", "--set", SIX, "--processes", "2"]
    done = subprocess.run(
        [programs / "python", *command, "--out", out, "--set", f"resume_dir={tmp_path / 'resume'}"],
        env={**os.environ, "PYTHONPATH": str(root)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "2 processes" in done.stdout
    found = read_files(out)
    assert found.keys() == expected.keys()
    for role, count in COUNTS.items():
        assert found[f"{role}.row_ids.npy"] == expected[f"{role}.row_ids.npy"]
        for name, tolerance in (("logits", 1e-5), ("embeddings", 1e-2)):
            path = tmp_path / f"{role}.{name}.npy"
            path.write_bytes(expected[path.name])
            one, two = np.load(path), np.load(out / path.name)
            assert len(two) == (45 if role == "train" else count)
            np.testing.assert_allclose(two, one, atol=tolerance)


@pytest.mark.fault("a network that says the same of every picture", "warning", "Numbers and memory")
def test_a_network_that_says_the_same_of_every_picture_is_told(tmp_path, monkeypatch, caplog):
    ask = TorchEngine.__call__
    monkeypatch.setattr(TorchEngine, "__call__", lambda self, pixels: ask(self, 0 * pixels))
    dump(tmp_path / "out")
    assert "train rows have one embedding: the network is blind" in caplog.text
