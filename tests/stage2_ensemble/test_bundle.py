"""The ensemble on disk: exact, without pickle, and never trusted when damaged.

LightGBM ends the process on a damaged model text, so these tests also show that it is not asked.
"""

import json
import pickletools
import shutil
from pathlib import Path

import numpy as np
import pytest
from synthetic_world import draw_columns, hold_out

from features.errors import IntegrityError, MissingArtifactError
from features.files import digest_file
from features.stack_params import Stack
from stage2_ensemble.bundle import read_ensemble, write_ensemble
from stage2_ensemble.choice import build_ensemble
from stage2_ensemble.columns import CalibrationColumns
from stage2_ensemble.ensemble import CANDIDATES
from stage2_ensemble.inner import fit_candidates

SETTINGS = Stack(inner_folds=3, pca_components=3, max_rounds=8, learning_rate=0.3, num_leaves=7)
FILES = [
    "MANIFEST.json",
    "ensemble.json",
    *(
        f"fold-{fold}/{name}"
        for fold in (0, 1)
        for name in ("lightgbm.txt", "pca-net-a.npy", "pca-net-b.npy", "pca-net_c.npy")
    ),
]
DAMAGE = (IntegrityError, MissingArtifactError)


@pytest.fixture(scope="module")
def ensemble():
    folds = [draw_columns(0), draw_columns(1, seed=50)]
    spared = [CalibrationColumns(**vars(hold_out(c)), labels=c.labels) for c in folds]
    fitted = fit_candidates(folds, SETTINGS, 0)
    return build_ensemble(fitted, folds, spared, "balanced_accuracy", "d" * 64, 0.6)


@pytest.fixture(scope="module")
def written(ensemble, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    write_ensemble(ensemble, folder)
    return folder


@pytest.fixture
def bundle(written, tmp_path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "bundle"))


def list_files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_scores_come_back_to_the_last_bit(ensemble, written):
    back = read_ensemble(written)
    new = [hold_out(draw_columns(fold, seed=300)) for fold in (0, 1)]
    for name in CANDIDATES:
        np.testing.assert_array_equal(back.score(name, new), ensemble.score(name, new))


def test_facts_come_back(ensemble, written):
    back = read_ensemble(written)
    for name in ("backbones", "folds", "train_digest", "prior", "shipped", "threshold_rows"):
        assert getattr(back, name) == getattr(ensemble, name)
    assert dict(back.thresholds) == dict(ensemble.thresholds)
    assert dict(back.oof_auc) == dict(ensemble.oof_auc)


def test_written_twice_it_is_the_same(ensemble, written, tmp_path):
    write_ensemble(ensemble, tmp_path)
    for name in FILES:
        assert digest_file(tmp_path / name) == digest_file(written / name)


def test_files_are_text_json_and_plain_arrays(written):
    assert list_files(written) == sorted(FILES)
    for name in FILES:
        if name.endswith(".npy"):
            assert np.load(written / name, allow_pickle=False).dtype == np.float32
        else:
            (written / name).read_text(encoding="utf-8")
        with pytest.raises(ValueError, match=r"opcode|pickle|stack|no bytes"):
            list(pickletools.genops((written / name).read_bytes()))


# --- damage


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(bundle, name):
    (bundle / name).unlink()
    with pytest.raises(MissingArtifactError, match="dvc repro stack"):
        read_ensemble(bundle)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file(bundle, name):
    content = (bundle / name).read_bytes()
    for size in (0, 1, len(content) // 2, len(content) - 2):
        (bundle / name).write_bytes(content[:size])
        with pytest.raises(DAMAGE):
            read_ensemble(bundle)


@pytest.mark.parametrize("name", [name for name in FILES if name != "MANIFEST.json"])
def test_one_edited_byte(bundle, name):
    content = (bundle / name).read_bytes()
    for place in np.linspace(0, len(content) - 1, 7).astype(int):
        edited = bytearray(content)
        edited[place] ^= 1
        (bundle / name).write_bytes(edited)
        with pytest.raises(IntegrityError, match="sha256"):
            read_ensemble(bundle)


def test_many_damaged_models_and_the_process_lives(bundle):
    path = bundle / "fold-1" / "lightgbm.txt"
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for size in rng.integers(0, len(content), 60):
        path.write_bytes(content[:size])
        with pytest.raises(IntegrityError):
            read_ensemble(bundle)
    for place, value in zip(
        rng.integers(0, len(content), 60), rng.integers(1, 256, 60), strict=True
    ):
        edited = bytearray(content)
        edited[place] ^= value
        path.write_bytes(edited)
        with pytest.raises(IntegrityError):
            read_ensemble(bundle)
    path.write_bytes(content)
    assert read_ensemble(bundle).folds == (0, 1)


def test_any_edited_byte_of_the_manifest_is_noticed_or_harmless(bundle, ensemble):
    path = bundle / "MANIFEST.json"
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    noticed = 0
    for place in rng.permutation(len(content))[:200]:
        edited = bytearray(content)
        edited[place] ^= int(rng.integers(1, 256))
        path.write_bytes(edited)
        try:
            assert read_ensemble(bundle).thresholds == ensemble.thresholds  # white space, say
        except DAMAGE:
            noticed += 1
    assert noticed > 150


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "3",
        "{}",
        '{"sha256": null}',
        '{"sha256": []}',
        '{"sha256": {}}',
        "{",
        "\x00",
    ],
)
def test_a_manifest_that_is_garbage(bundle, text):
    (bundle / "MANIFEST.json").write_text(text)
    with pytest.raises(IntegrityError, match="MANIFEST"):
        read_ensemble(bundle)


@pytest.mark.parametrize("name", FILES[1:])
def test_a_file_that_the_manifest_does_not_list_is_not_trusted(bundle, name):
    path = bundle / "MANIFEST.json"
    manifest = json.loads(path.read_text())
    del manifest["sha256"][name]
    path.write_text(json.dumps(manifest))
    (bundle / name).write_bytes(b"whatever")
    with pytest.raises(IntegrityError, match="does not list"):
        read_ensemble(bundle)


def test_a_bundle_that_was_never_made(tmp_path):
    with pytest.raises(MissingArtifactError, match="dvc repro stack"):
        read_ensemble(tmp_path)


def test_written_over_an_older_one_with_more_folds_it_reads(bundle, ensemble, written):
    shutil.copytree(bundle / "fold-1", bundle / "fold-7")
    write_ensemble(ensemble, bundle)
    assert read_ensemble(bundle).folds == (0, 1)
