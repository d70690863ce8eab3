"""Dumps: leakage and damage are found when they are written and when they are read."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_data import make_manifest

from features.artifacts.dumps import ARRAYS, Dump, read_dump, write_dump
from features.core.files import digest_file, read_sealed, write_array, write_sealed
from features.core.members import Correction, MemberId
from features.errors import (
    AlignmentError,
    IntegrityError,
    LeakageError,
    MissingArtifactError,
    NotFiniteError,
    PipelineError,
    StaleArtifactError,
)

FOLDS = [0, 1, 0, 1, 0, 1, 0, 1, -1, -1]
TRAIN = make_manifest("train", [0, 1] * 5, FOLDS)
VAL = make_manifest("val", [0, 1, 1], status=["ok", "missing", "ok"])
MEMBER = MemberId("net", 0, "d" * 64, TRAIN.digest, Correction(shift=-1.5))
SCORED = [0, 2, 4, 6, 8, 9]


def make_dump(row_ids: list[int], role: str = "train") -> Dump:
    ids = np.array(row_ids, np.int64)
    logits = (ids / 10).astype(np.float32)
    embeddings = np.stack([ids, ids + 1, ids + 2], axis=1).astype(np.float16)
    return Dump(role, MEMBER, ids, logits, embeddings)


def forge(folder: Path, dump: Dump) -> None:
    """Puts other arrays under a written dump, with digests that fit."""
    facts = read_sealed(folder / "train.json", "dump")
    for name in ARRAYS:
        path = folder / f"train.{name}.npy"
        write_array(path, getattr(dump, name))
        facts["sha256"][name] = digest_file(path)
    write_sealed(folder / "train.json", facts)


def edit_facts(folder: Path, **changes: object) -> None:
    path = folder / "train.json"
    write_sealed(path, {**read_sealed(path, "dump"), **changes})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound dump of train, written."""
    write_dump(make_dump(SCORED), TRAIN, tmp_path)
    return tmp_path


def test_what_crops_say_apart_comes_back_and_only_log_odds_are_corrected(tmp_path: Path) -> None:
    peaks = np.arange(12, dtype=np.float32).reshape(6, 2)
    write_dump(replace(make_dump(SCORED), crop_logits=peaks), TRAIN, tmp_path)
    found = read_dump(tmp_path, TRAIN, "net", 0)
    np.testing.assert_array_equal(found.crop_logits, peaks)
    np.testing.assert_array_equal(found.corrected_crop_logits, peaks - [1.5, 0])
    for wrong, error in ((peaks[:5], AlignmentError), (peaks * np.nan, NotFiniteError)):
        with pytest.raises(error):
            write_dump(replace(make_dump(SCORED), crop_logits=wrong), TRAIN, tmp_path)


def test_a_dump_comes_back_as_it_was(folder: Path) -> None:
    wanted, found = make_dump(SCORED), read_dump(folder, TRAIN, "net", 0)
    assert found.member == MEMBER
    assert found.role == "train"
    for name in ARRAYS:
        array = getattr(found, name)
        assert array.dtype == getattr(wanted, name).dtype
        np.testing.assert_array_equal(array, getattr(wanted, name))


def test_corrected_logits_are_shifted_in_float64(folder: Path) -> None:
    found = read_dump(folder, TRAIN, "net", 0).corrected_logits
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, np.array(SCORED) / 10 - 1.5, atol=1e-7)


def test_a_dump_of_val_holds_the_readable_rows(tmp_path: Path) -> None:
    write_dump(make_dump([0, 2], "val"), VAL, tmp_path)
    assert read_dump(tmp_path, VAL, "net", 0).row_ids.tolist() == [0, 2]


BAD = [
    pytest.param([0, 1, 2, 4, 6, 8, 9], LeakageError, r"rows 1 \(1 rows\)", id="learned row"),
    pytest.param([1, 3, 5, 7, 8, 9], LeakageError, r"rows 1, 3, 5, 7 ", id="other fold"),
    pytest.param([0, 2, 4, 8, 9], AlignmentError, "1 of the wanted missing", id="missing row"),
    pytest.param([0, 2, 2, 4, 6, 8, 9], AlignmentError, "7 rows, 0 of", id="repeated row"),
    pytest.param([2, 0, 4, 6, 8, 9], AlignmentError, "increasing", id="wrong order"),
    pytest.param([0, 2, 4, 6, 8, 9, 99], AlignmentError, "7 rows", id="unknown row"),
    pytest.param([], AlignmentError, "6 of the wanted missing", id="empty"),
]


@pytest.mark.parametrize(("row_ids", "error", "text"), BAD)
def test_wrong_rows_are_not_written(
    tmp_path: Path, row_ids: list[int], error: type[PipelineError], text: str
) -> None:
    with pytest.raises(error, match=text):
        write_dump(make_dump(row_ids), TRAIN, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.fault(
    "dumped rows out of order, missing or of another list",
    "error",
    "Numbers and memory",
)
@pytest.mark.parametrize(("row_ids", "error", "text"), BAD)
def test_wrong_rows_are_not_read(
    folder: Path, row_ids: list[int], error: type[PipelineError], text: str
) -> None:
    forge(folder, make_dump(row_ids))
    with pytest.raises(error, match=text):
        read_dump(folder, TRAIN, "net", 0)


def test_a_dump_passed_off_as_another_folds_is_leakage(folder: Path) -> None:
    edit_facts(folder, fold=1)
    with pytest.raises(LeakageError, match="rows 0, 2, 4, 6 "):
        read_dump(folder, TRAIN, "net", 1)


@pytest.mark.parametrize(("backbone", "fold"), [("other", 0), ("net", 1)])
def test_a_dump_of_another_member_is_refused(folder: Path, backbone: str, fold: int) -> None:
    with pytest.raises(AlignmentError, match=f"found net-0, wanted {backbone}-{fold}"):
        read_dump(folder, TRAIN, backbone, fold)


@pytest.mark.parametrize(
    "change",
    [
        {"fold": [1, 0, *FOLDS[2:]]},
        {"label": [1] * 10},
        {"sha256": "f" * 64},
    ],
    ids=["folds", "labels", "pictures"],
)
def test_a_dump_of_other_rows_is_stale_and_names_its_stage(folder: Path, change: dict) -> None:
    changed = make_manifest("train", [0, 1] * 5, FOLDS, **change)
    assert changed.digest != TRAIN.digest
    with pytest.raises(StaleArtifactError, match="dvc repro dump@net-0"):
        read_dump(folder, changed, "net", 0)


@pytest.mark.fault("a damaged object in DVC's cache")
@pytest.mark.parametrize("place", [0.0, 0.5, 0.9999])
@pytest.mark.parametrize("name", ARRAYS)
def test_a_flipped_bit_is_found(folder: Path, name: str, place: float) -> None:
    path = folder / f"train.{name}.npy"
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=f"train.{name}.npy.*dvc repro -f dump@net-0"):
        read_dump(folder, TRAIN, "net", 0)


@pytest.mark.parametrize("name", [*(f"train.{name}.npy" for name in ARRAYS), "train.json"])
def test_a_missing_file_names_the_stage_that_makes_it(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(MissingArtifactError, match=f"{name}.*dvc repro dump@net-0"):
        read_dump(folder, TRAIN, "net", 0)


@pytest.mark.parametrize("content", [b"", b'{"backbone": ', b"\xff\xfe"])
def test_a_cut_json_is_damaged(folder: Path, content: bytes) -> None:
    (folder / "train.json").write_bytes(content)
    with pytest.raises(IntegrityError, match="no valid JSON"):
        read_dump(folder, TRAIN, "net", 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_must_be_finite(folder: Path, value: float) -> None:
    dump = make_dump(SCORED)
    dump.logits[2] = value
    with pytest.raises(NotFiniteError, match="net-0, train: not a finite number; rows "):
        write_dump(dump, TRAIN, folder)
    forge(folder, dump)
    with pytest.raises(NotFiniteError, match="not a finite number"):
        read_dump(folder, TRAIN, "net", 0)


@pytest.mark.parametrize("name", ["logits", "embeddings"])
def test_each_row_has_one_logit_and_one_embedding(folder: Path, name: str) -> None:
    dump = make_dump(SCORED)
    cut = replace(dump, **{name: getattr(dump, name)[:-1]})
    with pytest.raises(AlignmentError, match="array lengths"):
        write_dump(cut, TRAIN, folder)
    forge(folder, cut)
    with pytest.raises(AlignmentError, match="array lengths"):
        read_dump(folder, TRAIN, "net", 0)


def test_a_refused_dump_leaves_the_old_one_as_it_was(folder: Path) -> None:
    with pytest.raises(LeakageError):
        write_dump(make_dump([*range(10)]), TRAIN, folder)
    assert len(read_dump(folder, TRAIN, "net", 0)) == len(SCORED)


@pytest.mark.parametrize("change", [("correction", {}), ("manifest", "0" * 64), ("note", "")])
def test_facts_edited_by_hand_are_refused(folder: Path, change: tuple[str, object]) -> None:
    path = folder / "train.json"
    facts = json.loads(path.read_text())
    facts[change[0]] = change[1]
    path.write_text(json.dumps(facts))
    with pytest.raises(IntegrityError, match="changed after it was written"):
        read_dump(folder, TRAIN, "net", 0)


@pytest.mark.fault(
    "an embedding that is no number",
    "error that names rows, before anything is written",
    "Numbers and memory",
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_embeddings_must_be_finite(tmp_path: Path, value: float) -> None:
    dump = make_dump(SCORED)
    dump.embeddings[3, 1] = value
    with pytest.raises(NotFiniteError, match=r"embeddings of .*rows 6 \(1 rows\)"):
        write_dump(dump, TRAIN, tmp_path)
    assert not list(tmp_path.iterdir())
