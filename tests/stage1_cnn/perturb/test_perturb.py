"""The stage on a small project: what it scores is what dumps and forensics say, cut off or not."""

import io
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from dump_task import COUNTS, PARAMS, dump, make_project, read_files
from PIL import Image

from features.artifacts import row_blocks
from features.artifacts.dumps import read_dump
from features.artifacts.perturbed import Variant, read_perturbed
from features.artifacts.row_blocks import RowBlocks
from features.core.files import digest_bytes
from features.core.manifest import read_manifest, write_manifest
from features.errors import ConfigError, LockedError, ManifestError, Stopped
from features.forensics.columns import COLUMNS, measure_images
from features.pixels.decoding import decode_square
from features.pixels.store import open_store
from features.runtime.interruption import Interruption
from features.runtime.locks import hold
from features.settings.images import Geometry, Images
from features.settings.perturb import PERTURBATIONS, PerturbParams, Tier
from features.settings.sections import load_params
from stage1_cnn.perturb import run as perturb
from stage1_cnn.perturb import scores
from stage1_cnn.perturb.file_changes import change_file
from stage1_cnn.perturb.tiers import damage_file
from stage1_cnn.runtime.runs import RunLimits
from stage1_cnn.scoring import rows

STRENGTHS = {"jpeg": [50], "blur": [], "noise": [20.0], "rescale": [], "crop": [0.5]}
TIERS = {"web": {"side": 40, "noise": 4.0, "jpeg": 60}}
SECTION = {"rows": 20, "tiers": TIERS, **STRENGTHS, "brightness": []}
OTHERS = {
    "seed": 0,
    "perturb": SECTION,
    "backbones": {"net": {}},
    "outside": {},
    "folds": {"active": [0]},
}
VARIANTS = 5
STEPS = VARIANTS * 3
"""Batches of 8 of 20 rows."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    make_project(folder)
    (folder / "params.yaml").write_text(yaml.safe_dump({**PARAMS, **OTHERS}))
    return folder


@pytest.fixture(autouse=True)
def project(place, monkeypatch):
    """The project as the current folder; small batches, each of them saved."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(rows, "CPU_BATCH", 8)
    monkeypatch.setattr(row_blocks, "SAVE_SECONDS", 0)


def run(out, *overrides):
    """Runs the stage; the files that it wrote."""
    perturb.run(load_params(PerturbParams, overrides), out, RunLimits(out.parent / "resume"))
    return read_files(out)


def read_val():
    return read_manifest(Path("artifacts/manifest"), "val")


@pytest.fixture(scope="module")
def expected(place, tmp_path_factory):
    """The files of a run that nothing disturbed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(rows, "CPU_BATCH", 8)
        return run(tmp_path_factory.mktemp("expected") / "out")


@pytest.mark.parametrize("overrides", [[], ["dump.tta=hflip", "dump.image_size=48"]])
def test_pictures_as_they_are_have_the_scores_of_the_dump(tmp_path, overrides):
    run(tmp_path / "out", *overrides)
    dump(tmp_path / "dumps", *overrides)
    val = read_val()
    found, wanted = (
        read_perturbed(tmp_path / "out", val),
        read_dump(tmp_path / "dumps", val, "net", 0),
    )
    assert found.members == (wanted.member,)
    assert found.variants[0] == Variant("clean", None)
    assert np.bincount(val.labels[found.row_ids]).tolist() == [10, 10]
    ids = found.row_ids
    np.testing.assert_allclose(found.logits[0][0], wanted.logits[ids], atol=1e-5)
    np.testing.assert_allclose(found.embeddings[0][0], wanted.embeddings[ids], atol=1e-2, rtol=1e-2)
    for changed in found.logits[0][1:]:
        assert np.abs(changed - found.logits[0][0]).max() > 1e-3


def test_forensic_features_are_those_of_the_perturbed_pixels(tmp_path):
    run(tmp_path / "out")
    found = read_perturbed(tmp_path / "out", read_val())
    store = open_store(read_val(), Path("data"), Images(size=48, store="none"))
    pixels = store.gather(found.row_ids)
    assert found.names == COLUMNS
    np.testing.assert_array_equal(found.forensics[0], measure_images(pixels))
    level = found.forensics[..., COLUMNS.index("noise:level")].mean(axis=1)
    places = {variant.perturbation: i for i, variant in enumerate(found.variants)}
    assert level[places["noise"]] > level[0] > level[places["crop"]]


def test_a_tier_is_done_to_the_file_before_it_becomes_a_square(tmp_path):
    """Its squares are those of a folder of files that somebody has damaged so."""
    run(tmp_path / "out", "images.size=32")
    val = read_val()
    found = read_perturbed(tmp_path / "out", val)
    tier = Tier(**TIERS["web"])
    for row in found.row_ids[:4]:
        path, sha256 = val.table.loc[row, ["path", "sha256"]]
        picture = damage_file(tier, sha256, np.asarray(Image.open(f"data/{path}")))
        assert picture.shape == (40, 40, 3)
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        square = decode_square(bytearray(file.getvalue()), Images(size=32))
        (place,) = np.flatnonzero(found.row_ids == row)
        wanted = measure_images(square[None])
        np.testing.assert_array_equal(found.forensics[1, place], wanted[0])


def test_a_file_that_has_changed_since_is_refused(tmp_path, monkeypatch):
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump({**PARAMS, **OTHERS}))
    path = Path("data") / read_val().table["path"].iloc[0]
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(ManifestError, match="its content is another one"):
        run(tmp_path / "out", "perturb.rows=all", f"data.root={tmp_path / 'data'}")


def test_neither_processes_nor_batches_change_a_picture(tmp_path, monkeypatch, expected):
    monkeypatch.setattr(scores, "MANY", 0)
    monkeypatch.setattr(rows, "CPU_BATCH", 7)
    files = run(tmp_path / "out")
    assert files["forensics.npy"] == expected["forensics.npy"]
    assert files["row_ids.npy"] == expected["row_ids.npy"]
    (tmp_path / "net.npy").write_bytes(expected["net-0.logits.npy"])
    found = np.load(tmp_path / "out/net-0.logits.npy")
    np.testing.assert_allclose(found, np.load(tmp_path / "net.npy"), atol=1e-5)


@pytest.mark.parametrize(
    "override",
    [
        "perturb.rows=0",
        f"perturb={ {name: [] for name in PERTURBATIONS} | {'tiers': {}} }",
        "outside={clip: {}}",
        "backbones={}",
    ],
)
def test_nothing_to_do_is_said_and_kept(tmp_path, caplog, override):
    caplog.set_level(logging.INFO)
    run(tmp_path / "out", override)
    found = read_perturbed(tmp_path / "out", read_val())
    assert len(found) == 0
    about = ("perturb.rows is 0", "perturb lists neither", "detectors from outside cannot")
    assert found.note.startswith(about)
    assert f"nothing is measured: {found.note}" in caplog.text


def test_without_val_rows_the_result_is_empty(tmp_path, monkeypatch):
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    path = Path("artifacts/manifest/val.parquet")
    write_manifest(read_val().table.iloc[:0], "val", path)
    (tmp_path / "artifacts/members/net/0/weights.safetensors").unlink()  # nobody asks for it
    params = PerturbParams.model_validate(
        {
            **PARAMS,
            "seed": 0,
            "perturb": SECTION,
            "backbones": {"net": {}},
            "outside": {},
            "folds": {"active": [0]},
        }
    )
    perturb.run(params, tmp_path / "out", RunLimits(tmp_path / "resume"))
    found = read_perturbed(tmp_path / "out", read_val())
    assert (len(found), found.note) == (0, "val has no readable rows of both classes")


def test_all_rows_and_fewer(tmp_path):
    run(tmp_path / "out", "perturb.rows=all")
    assert len(read_perturbed(tmp_path / "out", read_val())) == COUNTS["val"]


class Killed(BaseException):
    """What ends a process, as far as files can tell."""


@pytest.mark.fault("SIGKILL at any step")
@pytest.mark.parametrize("count", [1, 2, 5, STEPS])
def test_killed_at_any_batch_the_same_command_gives_the_same_bytes(
    tmp_path, monkeypatch, expected, count
):
    add, calls = RowBlocks.add, []

    def add_and_count(self, start, arrays, last=count):
        calls.append(len(arrays[0]))
        if len(calls) == last:
            add(self, start, [array[:3] for array in arrays])
            raise Killed
        add(self, start, arrays)

    with monkeypatch.context() as patch:
        patch.setattr(RowBlocks, "add", add_and_count)
        with pytest.raises(Killed):
            run(tmp_path / "out")
        assert not (tmp_path / "out").exists()
        assert run(tmp_path / "out") == expected
    assert len(calls) == STEPS + 1
    assert list((tmp_path / "resume").glob("perturb-*")) == []


def test_told_to_stop_it_keeps_every_batch_and_goes_on(tmp_path, monkeypatch, expected):
    asked = []

    def find_reason(self, needed):
        asked.append(needed)
        return "SIGTERM" if len(asked) == 4 else None

    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "find_reason", find_reason)
        patch.setattr(row_blocks, "SAVE_SECONDS", 1e9)
        with pytest.raises(Stopped, match=r"after 28 of 100 perturbed pictures \(SIGTERM\)"):
            run(tmp_path / "out")
        assert run(tmp_path / "out") == expected
    assert len(asked) == STEPS


@pytest.mark.parametrize(
    "override", ["perturb.jpeg=[60]", "perturb.rows=18", "seed=1", "dump.tta=hflip"]
)
def test_blocks_of_other_settings_are_not_gone_on_with(tmp_path, monkeypatch, override):
    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "find_reason", lambda self, needed: "SIGTERM")
        with pytest.raises(Stopped):
            run(tmp_path / "out")
    assert run(tmp_path / "out", override) == run(tmp_path / "other", override)
    assert list((tmp_path / "resume").glob("perturb-*")) == []


def test_a_second_run_into_the_same_folder_is_refused(tmp_path):
    with (
        hold(tmp_path / "out", tmp_path / "resume"),
        pytest.raises(LockedError, match=str(os.getpid())),
    ):
        run(tmp_path / "out")


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"rows": 1}, "one row is of one class alone"),
        ({"jpeg": [101]}, "less than or equal to 100"),
        ({"blur": [0.01, 0.01]}, "a strength stands there twice"),
        ({"crop": [1.5]}, "less than or equal to 1"),
        ({"gamma": [2]}, "gamma: unknown"),
        ({"tiers": {"blur": {"jpeg": 50}}}, "blur: this name stands for something else"),
        ({"tiers": {"none": {}}}, "it changes nothing"),
    ],
)
def test_settings_that_make_no_sense_are_told(section, told):
    with pytest.raises(ConfigError, match=told):
        load_params(PerturbParams, [f"perturb={section}"])


RUN = """
import os, signal
from features.runtime.cli import run_stage
from stage1_cnn.perturb.__main__ import main
from stage1_cnn.scoring import rows as scoring
from features.artifacts.row_blocks import RowBlocks
scoring.CPU_BATCH = 8
add, calls = RowBlocks.add, []
def add_and_kill(self, start, arrays):
    add(self, start, arrays)
    calls.append(start)
    if len(calls) == 3:
        os.kill(os.getpid(), {signal})
RowBlocks.add = add_and_kill
run_stage("stage1_cnn.perturb", main)
"""


def test_a_signal_ends_the_command_with_75_and_the_same_one_goes_on(tmp_path, expected):
    out = tmp_path / "out"
    root = Path(__file__).parents[3]
    stopped = subprocess.run(
        [sys.executable, "-c", RUN.format(signal=int(signal.SIGTERM)), "--out", str(out),
         "--set", f"resume_dir={tmp_path / 'resume'}"],
        env={**os.environ, "PYTHONPATH": str(root)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False,
    )  # fmt: skip
    assert stopped.returncode == 75, stopped.stdout
    assert "after 20 of 100 perturbed pictures (SIGTERM)" in stopped.stdout
    assert not out.exists()
    found = run(out)
    assert found == expected


def test_of_changed_files_members_see_crops(tmp_path, monkeypatch):
    make_project(tmp_path, images=Geometry(mode="crop"))
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump({**PARAMS, **OTHERS}))
    run(tmp_path / "out")
    dump(tmp_path / "dumps")
    found = read_perturbed(tmp_path / "out", read_val())
    wanted = read_dump(tmp_path / "dumps", read_val(), "net", 0)
    ids = found.row_ids
    np.testing.assert_allclose(found.logits[0][0], wanted.logits[ids], atol=1e-5)
    np.testing.assert_allclose(found.crop_logits[0][0], wanted.crop_logits[ids], atol=1e-5)
    for changed in found.crop_logits[0][1:]:
        assert np.abs(changed - found.crop_logits[0][0]).max() > 1e-3

    place = [variant.perturbation for variant in found.variants].index("jpeg")
    table = read_val().table
    for row in ids:
        path, sha256 = table.loc[row, ["path", "sha256"]]
        file = Path("data", path)
        picture = change_file(found.variants[place], sha256, np.asarray(Image.open(file)))
        Image.fromarray(picture).save(file)
        content = file.read_bytes()
        table.loc[row, ["bytes", "sha256"]] = len(content), digest_bytes(content)
    write_manifest(table, "val", Path("artifacts/manifest/val.parquet"))
    dump(tmp_path / "changed")
    wanted = read_dump(tmp_path / "changed", read_val(), "net", 0)
    np.testing.assert_allclose(found.crop_logits[0][place], wanted.crop_logits[ids], atol=1e-5)
