"""Forensic features on the disk: damage and other rows are found when they are read."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_data import make_manifest

from features.artifacts.forensics import read_forensics, seal_forensics
from features.core.files import read_sealed, write_array, write_sealed
from features.errors import AlignmentError, IntegrityError, MissingArtifactError, StaleArtifactError

ROOT = Path(__file__).parents[3]
VAL = make_manifest("val", [0, 1, 1])
NAMES = ("noise:level", "ela:level")
VALUES = np.array([[1, 2], [np.nan, np.nan], [5, 6]], np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound table of val, written."""
    write_array(tmp_path / "val.npy", VALUES)
    seal_forensics(tmp_path, VAL, NAMES)
    return tmp_path


def test_a_table_comes_back_as_it_was(folder: Path) -> None:
    found = read_forensics(folder, VAL)
    assert (found.role, found.names, len(found)) == ("val", NAMES, 3)
    assert isinstance(found.values, np.memmap)
    assert not found.values.flags.writeable
    assert found.values.dtype == np.float32
    np.testing.assert_array_equal(found.values, VALUES)


def test_a_role_without_rows(tmp_path: Path) -> None:
    test = make_manifest("test", [])
    write_array(tmp_path / "test.npy", np.empty((0, 2), np.float32))
    seal_forensics(tmp_path, test, NAMES)
    assert read_forensics(tmp_path, test).values.shape == (0, 2)


@pytest.mark.parametrize("name", ["val.npy", "val.json"])
def test_a_missing_file_names_the_stage(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(MissingArtifactError, match=f"{name} is missing.*dvc repro forensics$"):
        read_forensics(folder, VAL)


@pytest.mark.parametrize("change", [{"sha256": "f" * 64}, {"label": [1, 1, 1]}])
def test_other_rows_make_it_stale(folder: Path, change: dict) -> None:
    other = make_manifest("val", [0, 1, 1], **change)
    with pytest.raises(StaleArtifactError, match=r"made from manifest.*dvc repro forensics$"):
        read_forensics(folder, other)


@pytest.mark.parametrize("place", [0.0, 0.5, 0.999])
def test_a_flipped_bit_is_found(folder: Path, place: float) -> None:
    content = bytearray((folder / "val.npy").read_bytes())
    content[int(len(content) * place)] ^= 1
    (folder / "val.npy").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"val\.npy is damaged.*dvc repro -f forensics"):
        read_forensics(folder, VAL)


def test_changed_facts_are_found(folder: Path) -> None:
    path = folder / "val.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"names": facts["names"][::-1]}))
    with pytest.raises(IntegrityError, match=r"val\.json is damaged"):
        read_forensics(folder, VAL)


def test_columns_and_names_must_be_as_many(folder: Path) -> None:
    facts = read_sealed(folder / "val.json", "forensics")
    write_sealed(folder / "val.json", facts | {"names": ["noise:level"]})
    with pytest.raises(AlignmentError, match=r"rows and columns of .*\(3, 2\), wanted \(3, 1\)"):
        read_forensics(folder, VAL)


def test_reading_brings_nothing_heavy_in() -> None:
    code = (
        "import sys, features.artifacts.forensics;"
        "print({'torch', 'scipy', 'sklearn', 'skimage', 'PIL', 'joblib'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
