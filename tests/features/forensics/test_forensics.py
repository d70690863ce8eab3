"""The stage `forensics`: rows where they belong, the same bytes however it was run or stopped."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import joblib
import numpy as np
import pytest
import yaml
from made_data import draw_noise, encode, prepare_params, write_data

from features.artifacts import row_blocks
from features.artifacts.forensics import read_forensics
from features.core.manifest import ROLES, read_manifest
from features.errors import LockedError, Stopped, WorkerKilledError
from features.forensics import measuring
from features.forensics import run as forensics
from features.forensics.__main__ import main
from features.forensics.columns import COLUMNS, count_together, measure_images
from features.forensics.settings import ForensicParams
from features.pixels.store import open_store
from features.prepare import run as prepare
from features.runtime import run_folder
from features.runtime.locks import hold

ROOT = Path(__file__).parents[3]
TESTS = Path(__file__).parents[1]
RESUME = Path(".resume")
SIZE = 16


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_process: None) -> ForensicParams:
    """A prepared folder, entered: 20 train, 8 val and 4 test rows; test row 1 is broken."""
    root = write_data(tmp_path / "data")
    (root / "testset" / "test01.png").write_bytes(b"<html>")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measuring, "ROWS", 6)
    settings = prepare_params(root)
    prepare.run(settings)
    values = {"data": {"root": str(root)}, "images": settings.images.model_dump()}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return ForensicParams.model_validate(values)


def read_all(out: Path = forensics.OUT) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def list_stopped() -> list[Path]:
    return sorted(RESUME.glob("forensics-*"))


@pytest.fixture
def whole(params: ForensicParams) -> dict[str, bytes]:
    """The files of a run that nobody stopped."""
    forensics.run(params, Path("other"), Path("whole"))
    return read_all(Path("whole"))


@pytest.fixture
def count_measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ranges of rows that were computed, such as `train-6`."""
    seen: list[str] = []
    really_measure = measuring.measure_range

    def note(rows, *options):
        seen.append(f"{rows.role}-{rows.start}")
        return really_measure(rows, *options)

    monkeypatch.setattr(forensics, "measure_range", note)
    monkeypatch.setattr(row_blocks, "SAVE_SECONDS", 0)
    return seen


def test_each_row_has_the_features_of_its_image(params: ForensicParams) -> None:
    main()
    assert set(read_all()) == {f"{role}.{kind}" for role in ROLES for kind in ("json", "npy")}
    assert not list_stopped()
    for role, rows in (("train", 20), ("val", 8), ("test", 4)):
        manifest = read_manifest(forensics.MANIFEST, role)
        table = read_forensics(forensics.OUT, manifest)
        assert table.names == COLUMNS
        assert table.values.shape == (rows, len(COLUMNS))
        readable = manifest.readable
        store = open_store(manifest, Path(params.data.root), params.images)
        wanted = measure_images(store.gather(np.flatnonzero(readable)))
        np.testing.assert_array_equal(table.values[readable], wanted)
        assert np.isnan(table.values[~readable]).all()
        assert (~readable).sum() == (role == "test")


def test_the_stage_says_what_it_did(params: ForensicParams, caplog) -> None:
    with caplog.at_level(logging.INFO, "forgerystack"):
        forensics.run(params, RESUME)
    said = f"forensics: {len(COLUMNS)} columns of 20 train rows, 8 val rows, 4 test rows, "
    assert caplog.messages[-1].startswith(said)


def test_decoding_at_each_use_gives_the_same_bytes(params: ForensicParams, whole: dict) -> None:
    images = params.images.model_copy(update={"store": "none", "store_dir": "elsewhere"})
    forensics.run(params.model_copy(update={"images": images}), RESUME)
    assert read_all() == whole


@pytest.mark.parametrize("store", ["none", "raw"])
def test_processes_know_beforehand_how_much_they_will_decode(
    params: ForensicParams, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    told: list[float] = []
    monkeypatch.setattr(measuring, "settle_kernels", told.append)
    monkeypatch.setattr(forensics, "count_workers", lambda: 2)
    images = params.images.model_copy(update={"store": store, "store_dir": "elsewhere"})
    params = params.model_copy(update={"images": images})
    forensics.run(params, RESUME)
    assert not told  # threads of this process
    monkeypatch.setattr(forensics, "MANY", 1)
    with joblib.parallel_config(backend="sequential"):
        forensics.run(params, RESUME)
    manifests = [read_manifest(forensics.MANIFEST, role) for role in ROLES]
    files = sum(int(rows.read("bytes").sum()) for rows in manifests)
    assert set(told) == {files / 2 if store == "none" else 0.0}


@pytest.mark.fault(
    "another number of threads",
    "the same bytes from forensic features and LightGBM",
    "Settings and surroundings",
)
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_threads_and_processes_give_the_same_bytes(
    params: ForensicParams, whole: dict, backend: str
) -> None:
    with joblib.parallel_config(backend=backend):
        forensics.run(params, RESUME)
    assert read_all() == whole


def test_a_second_run_writes_the_same_bytes(params: ForensicParams, whole: dict) -> None:
    for _ in range(2):
        forensics.run(params, RESUME)
        assert read_all() == whole


def test_few_images_are_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Store:
        size = 256

        def __len__(self) -> int:
            return 7

        def gather(self, rows):
            asked.append(len(rows))
            return np.zeros((len(rows), self.size, self.size, 3), np.uint8)

    assert measuring.measure_store(Store()).shape == (7, len(COLUMNS))
    assert sum(asked) == 7
    assert max(asked) == count_together(256) < 7


def test_a_role_without_rows(params: ForensicParams) -> None:
    (Path(params.data.root) / "testset_nolabel.txt").write_text("img_name\n")
    prepare.run(prepare_params(Path(params.data.root), data={"test": None}))
    forensics.run(params, RESUME)
    table = read_forensics(forensics.OUT, read_manifest(forensics.MANIFEST, "test"))
    assert table.values.shape == (0, len(COLUMNS))


# --- stopped and resumed


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import joblib
from pathlib import Path
from features.forensics import measuring, run as forensics
from features.artifacts import row_blocks
from features.runtime import run_folder
from features.settings.sections import load_params
run_folder.digest_code = lambda: "the same"
measuring.ROWS, row_blocks.SAVE_SECONDS = 6, 0
really_measure = forensics.measure_range
def measure(rows, *options):
    if (rows.role, rows.start) == ("train", 12):
        os.kill(os.getpid(), signal.SIGKILL)
    return really_measure(rows, *options)
forensics.measure_range = measure
with joblib.parallel_config(backend="sequential"):
    forensics.run(load_params(forensics.ForensicParams), Path(".resume"))
"""


def test_a_killed_run_goes_on_to_the_same_bytes(
    params: ForensicParams, whole: dict, count_measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tests' own modules are no part of the code that another process loads.
    monkeypatch.setattr(run_folder, "digest_code", lambda: "the same")
    code = textwrap.dedent(KILLED).format(tests=str(TESTS))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment)
    assert done.returncode == -signal.SIGKILL
    assert not forensics.OUT.exists()
    assert len(list_stopped()) == 1
    forensics.run(params, RESUME)
    assert count_measured == ["train-12", "train-18", "val-0", "val-6", "test-0"]
    assert read_all() == whole
    assert not list_stopped()


def interrupt_at(monkeypatch: pytest.MonkeyPatch, start: int) -> None:
    really_measure = measuring.measure_range

    def measure(rows, *options):
        if rows.start == start:
            raise KeyboardInterrupt
        return really_measure(rows, *options)

    monkeypatch.setattr(forensics, "measure_range", measure)


def test_ctrl_c_keeps_what_was_finished(
    params: ForensicParams, whole: dict, count_measured: list[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 12)
        with pytest.raises(Stopped, match=r"after 12 of 32 images\. The same command goes on"):
            forensics.run(params, RESUME)
    count_measured.clear()
    forensics.run(params, RESUME)
    assert count_measured[0] == "train-12"
    assert read_all() == whole


@pytest.mark.parametrize(("damage", "first"), [("flip", 6), ("cut", 0), ("empty", 0)])
def test_what_is_damaged_is_computed_again(
    params: ForensicParams, whole: dict, count_measured: list[str], damage: str, first: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 12)
        with pytest.raises(Stopped):
            forensics.run(params, RESUME)
    path = next(iter(RESUME.glob("forensics-*/train.values.npy")))
    content = bytearray(path.read_bytes())
    content[3000] ^= 1
    path.write_bytes({"flip": bytes(content), "cut": content[:-1], "empty": b""}[damage])
    count_measured.clear()
    forensics.run(params, RESUME)
    assert count_measured[0] == f"train-{first}"
    assert read_all() == whole


def test_what_was_computed_of_other_images_is_not_used_and_goes_in_the_end(
    params: ForensicParams, count_measured: list[str], caplog
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 12)
        with pytest.raises(Stopped):
            forensics.run(params, RESUME)
    root = Path(params.data.root)
    (root / "valset" / "val00.png").write_bytes(encode(draw_noise(77)))
    prepare.run(prepare_params(root))
    count_measured.clear()
    with caplog.at_level(logging.INFO, "forgerystack"):
        forensics.run(params, RESUME)
    assert "a stopped run, but with another manifests.val: not used" in caplog.text
    assert len(count_measured) == 7
    assert not list_stopped()


def kill_self(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.fault("a worker is killed (as by the kernel, out of memory)")
def test_a_killed_worker_is_told(params: ForensicParams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forensics, "measure_range", kill_self)
    with (
        joblib.parallel_config(backend="loky"),
        pytest.raises(WorkerKilledError, match="while forensic features were computed"),
    ):
        forensics.run(params, RESUME)


def test_two_runs_do_not_work_on_the_same_results(params: ForensicParams) -> None:
    with hold(forensics.OUT, RESUME), pytest.raises(LockedError, match=f"process {os.getpid()}"):
        forensics.run(params, RESUME)
    forensics.run(params, RESUME)
    assert not list(RESUME.glob("*.pid"))
