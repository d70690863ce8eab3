"""Columns of a manifest come from its file one by one, in any part, as they would all together."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from made_data import make_manifest

from features.core import manifest, manifest_columns
from features.core.manifest import SCHEMA, Manifest, digest_table, read_manifest, write_manifest
from features.core.manifest_columns import StoredColumns
from features.errors import IntegrityError

N = 11
TEXTS = (pa.string(), pa.large_string(), pa.string_view())


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """A manifest of several row groups, on the disk."""
    monkeypatch.setattr(manifest, "ROW_GROUP", 4)
    names = [f"né{i}.png" for i in range(N)]
    made = make_manifest("train", [i % 2 for i in range(N)], [i % 3 for i in range(N)])
    write_manifest(made.table.assign(img_name=names), "train", tmp_path / "train.parquet")
    return read_manifest(tmp_path, "train")


@pytest.mark.parametrize(
    "block", [slice(None), slice(0, 4), slice(3, 9), slice(8, 99), slice(5, 5)]
)
def test_a_block_is_that_part_of_the_column(stored: Manifest, block: slice) -> None:
    for name in SCHEMA:
        found, wanted = stored.read(name, block), stored.table[name].iloc[block]
        assert found.dtype == wanted.dtype
        assert found.tolist() == wanted.tolist()


def test_the_digest_is_the_same_whatever_the_blocks(stored: Manifest) -> None:
    assert digest_table(stored.table) == stored.digest
    for size in (1, 3, 1000):
        assert manifest_columns.digest_columns(
            StoredColumns(stored.source._path), SCHEMA, size
        ) == (stored.digest)


def test_tables_that_were_put_together_have_the_digest_of_their_rows(stored: Manifest) -> None:
    pieces = [pa.table({"img_name": pa.array(["a", "b"], kind)}).to_pandas() for kind in TEXTS]
    made = make_manifest("test", [1] * 2 * len(TEXTS)).table
    names = pd.concat([*(piece["img_name"] for piece in pieces)], ignore_index=True)
    together = made.assign(img_name=names.mask(made["row_id"] == 1, "c"))
    plain = made.assign(img_name=pd.Series(["a", "c", *["a", "b"] * (len(TEXTS) - 1)], dtype="str"))
    assert digest_table(together) == digest_table(plain)
    parts = pd.concat([stored.table.iloc[:5], stored.table.astype(object).iloc[5:]])
    assert digest_table(parts) == stored.digest


def test_a_table_with_an_empty_cell_of_text_has_no_digest(stored: Manifest) -> None:
    for empty in (None, float("nan")):
        holed = stored.table.astype(object)
        holed.loc[3, "face"] = empty
        with pytest.raises(ValueError, match="column face has empty cells"):
            digest_table(holed)


def test_only_columns_that_are_asked_for_are_kept(stored: Manifest) -> None:
    assert stored.labels.tolist() == [i % 2 for i in range(N)]
    assert len(stored.rows_to_learn(0).row_ids) == 7
    kept = {name for name, value in vars(stored).items() if isinstance(value, np.ndarray)}
    assert kept == {"labels", "folds"}
    assert not any(isinstance(value, pd.DataFrame) for value in vars(stored).values())


def test_another_file_under_the_name_is_told(stored: Manifest, tmp_path: Path) -> None:
    made = make_manifest("train", [1, 0])
    write_manifest(made.table, "train", tmp_path / "train.parquet")
    with pytest.raises(IntegrityError, match="written anew"):
        stored.read("path")
    (tmp_path / "train.parquet").unlink()
    with pytest.raises(IntegrityError, match="written anew"):
        assert len(stored.groups)
