"""The manifest: its digest, its file, and who may learn from which row."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_data import make_manifest

from features.core.manifest import (
    SCHEMA,
    Manifest,
    count_classes,
    digest_table,
    read_manifest,
    write_manifest,
)
from features.errors import IntegrityError, LeakageError, MissingArtifactError

LABELS = [0, 1, 1, 0, 1, 1, 0, 1]
FOLDS = [0, 1, 2, 0, 1, 2, -1, -1]


@pytest.fixture
def train() -> Manifest:
    return make_manifest("train", LABELS, FOLDS, generator="é", img_name=list("abcdefgh"))


def change_cell(table: pd.DataFrame, column: str) -> pd.DataFrame:
    cell = table.loc[5, column]
    other = f"{cell}x" if isinstance(cell, str) else cell + 1
    return table.assign(**{column: [*table[column][:5], other, *table[column][6:]]})


@pytest.mark.parametrize("column", list(SCHEMA))
def test_one_changed_cell_gives_another_digest(train: Manifest, column: str) -> None:
    assert digest_table(change_cell(train.table, column)) != train.digest


def test_the_same_rows_in_another_order_give_another_digest(train: Manifest) -> None:
    assert digest_table(train.table.iloc[::-1]) != train.digest


def test_text_moved_to_the_next_row_gives_another_digest(train: Manifest) -> None:
    first, second = (
        train.table.assign(generator=[*cells, *[""] * 6]) for cells in (["ab", "c"], ["a", "bc"])
    )
    assert digest_table(first) != digest_table(second)


@pytest.mark.parametrize("kind", ["object", "str", "string", "string[pyarrow]", "string[python]"])
def test_any_text_type_of_pandas_comes_back_with_the_same_digest(
    train: Manifest, tmp_path: Path, kind: str
) -> None:
    texts = {name: kind for name, arrow in SCHEMA.items() if arrow == "string"}
    written = write_manifest(train.table.astype(texts), "train", tmp_path / "train.parquet")
    found = read_manifest(tmp_path, "train")
    assert found.digest == written.digest == train.digest
    pd.testing.assert_frame_equal(found.table.astype(texts), train.table.astype(texts))


def test_a_manifest_without_rows_comes_back(tmp_path: Path) -> None:
    empty = make_manifest("test", [])
    write_manifest(empty.table, "test", tmp_path / "test.parquet")
    found = read_manifest(tmp_path, "test")
    assert len(found) == 0
    assert found.digest == empty.digest
    assert found.rows_to_dump(0).tolist() == []


def test_types_on_disk_are_those_of_the_schema(train: Manifest, tmp_path: Path) -> None:
    write_manifest(train.table, "train", tmp_path / "train.parquet")
    found = pq.read_schema(tmp_path / "train.parquet")
    assert {field.name: str(field.type) for field in found} == SCHEMA


def test_row_ids_must_be_dense_and_in_order(train: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="row_id"):
        write_manifest(train.table.iloc[1:], "train", tmp_path / "train.parquet")
    assert not list(tmp_path.iterdir())


def test_a_missing_manifest_names_its_stage(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError, match="dvc repro prepare"):
        read_manifest(tmp_path, "val")


def test_a_damaged_manifest_is_never_read_as_another_one(train: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    write_manifest(train.table, "train", path)
    content = path.read_bytes()
    found = 0
    for place in range(0, len(content), 17):
        damaged = bytearray(content)
        damaged[place] ^= 0x80
        path.write_bytes(damaged)
        try:  # a flip in what nobody reads, such as statistics, changes nothing
            assert read_manifest(tmp_path, "train").digest == train.digest
        except IntegrityError:
            found += 1
    assert found > len(content) / 17 / 2


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_cut_manifest_is_damaged(train: Manifest, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "train.parquet"
    write_manifest(train.table, "train", path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(IntegrityError, match="dvc repro -f prepare"):
        read_manifest(tmp_path, "train")


def with_empty_cell(table: pa.Table) -> pa.Table:
    return table.set_column(7, "generator", pa.array([None] * table.num_rows, pa.string()))


def with_other_label(table: pa.Table) -> pa.Table:
    return table.set_column(3, "label", pa.array([1] * table.num_rows, pa.int8()))


def with_other_type(table: pa.Table) -> pa.Table:
    return table.set_column(3, "label", table["label"].cast(pa.int64()))


@pytest.mark.parametrize(
    "change",
    [
        with_empty_cell,
        with_other_label,
        with_other_type,
        lambda table: table.drop_columns(["fold"]),
        lambda table: table.slice(1),
        lambda table: table.replace_schema_metadata(),
    ],
    ids=["empty cell", "other label", "other type", "no fold", "a row less", "no digest"],
)
def test_a_manifest_edited_by_hand_is_refused(train: Manifest, tmp_path: Path, change) -> None:
    path = tmp_path / "train.parquet"
    write_manifest(train.table, "train", path)
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(IntegrityError, match="dvc repro -f prepare"):
        read_manifest(tmp_path, "train")


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_nobody_scores_a_train_row_that_it_learned_from(train: Manifest, fold: int) -> None:
    learned = set(train.rows_to_learn(fold).row_ids.tolist())
    scored = set(train.rows_to_dump(fold).tolist())
    held, spared = set(train.fold_rows(fold).tolist()), set(train.calibration_rows().tolist())
    assert learned | scored == set(range(len(train)))
    assert not learned & scored
    assert scored == held | spared
    assert not held & spared
    assert held == {row for row, f in enumerate(FOLDS) if f == fold}
    assert spared == {6, 7}


def test_learn_rows_carry_fold_and_digest(train: Manifest) -> None:
    learn = train.rows_to_learn(2)
    assert (learn.fold, learn.manifest_digest) == (2, train.digest)


@pytest.mark.parametrize("role", ["val", "test"])
def test_readable_rows_alone_are_dumped(role) -> None:
    manifest = make_manifest(role, [0, 1, 1], status=["ok", "empty file", "ok"])
    assert manifest.rows_to_dump(0).tolist() == [0, 2]


@pytest.mark.parametrize("ask", ["rows_to_learn", "fold_rows"])
@pytest.mark.parametrize("role", ["val", "test"])
def test_no_member_and_no_stacker_learns_from_val_or_test(role, ask: str) -> None:
    with pytest.raises(ValueError, match="only the train manifest"):
        getattr(make_manifest(role, LABELS, 0), ask)(0)


def test_a_learned_row_among_scored_ones_is_named(train: Manifest) -> None:
    train.check_not_learned(np.array([0, 3, 6, 7]), fold=0)
    with pytest.raises(LeakageError, match=r"rows 1, 5 \(2 rows\)"):
        train.check_not_learned(np.array([0, 1, 5, 6]), fold=0)


def test_classes_are_counted_reals_first() -> None:
    assert count_classes([1, 1, 0, -1, 1]) == (1, 3)
