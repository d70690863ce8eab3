"""Perturbed scores on the disk: the same back, and no damage unseen."""

from dataclasses import replace

import numpy as np
import pytest
from made_data import make_manifest

from features.artifacts.perturbed import Perturbed, Variant, read_perturbed, write_perturbed
from features.core.members import Correction, MemberId
from features.errors import (
    AlignmentError,
    IntegrityError,
    MissingArtifactError,
    NotFiniteError,
    StaleArtifactError,
)

VAL = make_manifest("val", [0, 1] * 10)
IDS = np.array([2, 3, 7, 10])


def draw_perturbed(**changes):
    rng = np.random.default_rng(0)
    members = tuple(MemberId("net", k, str(k) * 64, "t" * 64, Correction(0.5)) for k in (0, 1))
    found = Perturbed(
        IDS,
        (Variant("clean", None), Variant("jpeg", 75.0), Variant("blur", 0.01)),
        members,
        tuple(rng.normal(size=(3, 4)).astype(np.float32) for _ in members),
        tuple(rng.normal(size=(3, 4, 5)).astype(np.float16) for _ in members),
        ("noise:level",),
        rng.normal(size=(3, 4, 1)).astype(np.float32),
    )
    return replace(found, **changes)


def test_what_was_written_comes_back(tmp_path):
    wanted = draw_perturbed()
    write_perturbed(wanted, VAL, tmp_path)
    found = read_perturbed(tmp_path, VAL)
    assert (found.variants, found.members, found.names) == (
        wanted.variants, wanted.members, wanted.names,
    )  # fmt: skip
    for name, array in wanted.list_arrays().items():
        read = found.list_arrays()[name]
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)
    assert isinstance(found.embeddings[0], np.memmap)


def test_an_empty_result_says_why(tmp_path):
    write_perturbed(Perturbed(np.empty(0, np.int64), note="no rows"), VAL, tmp_path)
    found = read_perturbed(tmp_path, VAL)
    assert (len(found), found.variants, found.note) == (0, (), "no rows")
    assert [path.name for path in tmp_path.iterdir()] == ["perturbed.json"]


def test_every_damaged_or_missing_file_is_seen(tmp_path):
    write_perturbed(draw_perturbed(), VAL, tmp_path)
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 7
    for path in paths:
        content = path.read_bytes()
        path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
        with pytest.raises(IntegrityError, match="dvc repro -f perturb"):
            read_perturbed(tmp_path, VAL)
        path.unlink()
        with pytest.raises(MissingArtifactError, match="dvc repro perturb"):
            read_perturbed(tmp_path, VAL)
        path.write_bytes(content)
    read_perturbed(tmp_path, VAL)


def test_another_val_manifest_makes_it_stale(tmp_path):
    write_perturbed(draw_perturbed(), VAL, tmp_path)
    with pytest.raises(StaleArtifactError, match="dvc repro perturb"):
        read_perturbed(tmp_path, make_manifest("val", [1, 0] * 10))


@pytest.mark.parametrize("ids", [[2, 3, 7, 20], [2, 7, 3, 10], [2, 2, 7, 10]])
def test_rows_must_be_those_of_val_and_increase(tmp_path, ids):
    with pytest.raises(AlignmentError, match="perturbed rows"):
        write_perturbed(draw_perturbed(row_ids=np.array(ids)), VAL, tmp_path)


def test_arrays_must_fit(tmp_path):
    found = draw_perturbed()
    short = (found.logits[0], found.logits[1][:, :3])
    with pytest.raises(AlignmentError, match=r"net-1\.logits"):
        write_perturbed(replace(found, logits=short), VAL, tmp_path)


@pytest.mark.fault("an embedding that is no number")
@pytest.mark.parametrize(
    ("choose", "name"),
    [
        (lambda found: found.logits[1], r"net-1\.logits"),
        (lambda found: found.embeddings[0], r"net-0\.embeddings"),
        (lambda found: found.forensics, "forensics"),
    ],
)
def test_what_is_no_number_is_told_with_its_row(tmp_path, choose, name):
    found = draw_perturbed()
    choose(found)[1, 2] = np.inf
    with pytest.raises(NotFiniteError, match=rf"perturbed {name}.*\b7\b"):
        write_perturbed(found, VAL, tmp_path)
    assert not list(tmp_path.iterdir())
