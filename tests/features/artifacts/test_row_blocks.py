"""Arrays that are filled by rows: what was saved is there, what is damaged is not."""

import io
import itertools
import json

import numpy as np
import pytest

from features.artifacts import row_blocks
from features.artifacts.row_blocks import RowBlocks
from features.core.files import link_file
from features.errors import IntegrityError

ROWS, WIDTH = 20, 3
LAYOUTS = {"logits": (np.float32, (ROWS,)), "embeddings": (np.float16, (ROWS, WIDTH))}
RNG = np.random.default_rng(0)
ALL = [RNG.normal(size=shape).astype(dtype) for dtype, shape in LAYOUTS.values()]


def cut(start, stop):
    return [array[start:stop] for array in ALL]


def save_npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def fill(folder, *edges):
    """Blocks between the edges, of two batches each where they are long enough."""
    blocks = open_again(folder)
    for start, stop in itertools.pairwise(edges):
        blocks.add(start, cut(start, start + 1))
        blocks.add(start + 1, cut(start + 1, stop))
        blocks.save()
    return blocks


def open_again(folder):
    return RowBlocks(folder, "val", ROWS, LAYOUTS)


def check_whole(blocks):
    assert blocks.list_missing() == []
    for found, wanted in zip(blocks.map_arrays(), ALL, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_scores_come_back_and_files_have_their_size_from_the_start(tmp_path):
    assert open_again(tmp_path).list_missing() == [(0, ROWS)]
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("*.npy")}
    assert sizes == {
        f"val.{name}.npy": len(save_npy(a)) for name, a in zip(LAYOUTS, ALL, strict=True)
    }
    check_whole(fill(tmp_path, 0, 8, ROWS))
    check_whole(open_again(tmp_path))


def test_what_was_not_saved_is_missing(tmp_path):
    blocks = fill(tmp_path, 0, 8)
    blocks.add(8, cut(8, 12))
    assert open_again(tmp_path).list_missing() == [(8, ROWS)]
    blocks.save()
    assert open_again(tmp_path).list_missing() == [(12, ROWS)]


@pytest.mark.parametrize("name", ["logits", "embeddings"])
def test_a_damaged_block_is_missing_and_can_be_filled_in(tmp_path, caplog, name):
    fill(tmp_path, 0, 4, 8, 12, ROWS)
    path = tmp_path / f"val.{name}.npy"
    content = bytearray(path.read_bytes())
    header = len(content) - len(ALL[name == "embeddings"].tobytes())
    content[header + 5 * (len(content) - header) // ROWS] ^= 1
    path.write_bytes(content)
    blocks = open_again(tmp_path)
    assert blocks.list_missing() == [(4, 8)]
    assert "1 damaged blocks" in caplog.text
    blocks.add(4, cut(4, 8))
    blocks.save()
    check_whole(open_again(tmp_path))


@pytest.mark.parametrize("name", ["val.json", "val.logits.npy", "val.embeddings.npy"])
@pytest.mark.parametrize("content", [None, b"", b"{"])
def test_without_one_of_the_files_nothing_is_there(tmp_path, name, content):
    fill(tmp_path, 0, 4, ROWS)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert open_again(tmp_path).list_missing() == [(0, ROWS)]


def test_a_record_edited_by_hand_does_not_count(tmp_path):
    fill(tmp_path, 0, 4)
    record = json.loads((tmp_path / "val.json").read_text())
    record["blocks"][0][1] = ROWS
    (tmp_path / "val.json").write_text(json.dumps(record))
    assert open_again(tmp_path).list_missing() == [(0, ROWS)]


def test_a_part_without_rows_has_scores_of_the_right_shape(tmp_path):
    layouts = {"logits": (np.float32, (0,)), "embeddings": (np.float16, (0, WIDTH))}
    blocks = RowBlocks(tmp_path, "test", 0, layouts)
    assert blocks.list_missing() == []
    assert [array.shape for array in blocks.map_arrays()] == [(0,), (0, WIDTH)]
    for name, path in blocks.finish().items():
        dtype, shape = layouts[name]
        assert path.read_bytes() == save_npy(np.empty(shape, dtype))


def test_rows_may_come_in_any_order(tmp_path):
    blocks = open_again(tmp_path)
    for start, stop in ((12, ROWS), (0, 4), (4, 8)):
        blocks.add(start, cut(start, stop))
    assert blocks.list_missing() == [(8, 12)]
    blocks.save()
    record = json.loads((tmp_path / "val.json").read_text())
    assert [block[:2] for block in record["blocks"]] == [[12, ROWS], [0, 8]]
    blocks = open_again(tmp_path)
    assert blocks.list_missing() == [(8, 12)]
    blocks.add(8, cut(8, 12))
    check_whole(blocks)


def test_it_saves_by_itself_only_after_a_while(tmp_path, monkeypatch):
    blocks = open_again(tmp_path)
    blocks.add(0, cut(0, 8))
    blocks.save_if_due()
    assert open_again(tmp_path).list_missing() == [(0, ROWS)]
    monkeypatch.setattr(row_blocks, "SAVE_SECONDS", 0)
    blocks.save_if_due()
    assert open_again(tmp_path).list_missing() == [(8, ROWS)]


def test_finished_files_are_those_that_numpy_writes(tmp_path):
    files = fill(tmp_path, 0, 8, ROWS).finish()
    assert [path.read_bytes() for path in files.values()] == [save_npy(array) for array in ALL]


def test_rows_of_several_axes_have_the_shape_of_the_whole(tmp_path):
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    blocks = RowBlocks(tmp_path, "all", 6, {"values": (np.float32, (2, 3, 4))})
    blocks.add(4, [values.reshape(6, 4)[4:]])
    blocks.add(0, [values.reshape(6, 4)[:4]])
    assert blocks.finish()["values"].read_bytes() == save_npy(values)


@pytest.mark.parametrize("name", ["logits", "embeddings"])
def test_what_changes_before_the_end_is_no_result(tmp_path, name):
    blocks = fill(tmp_path, 0, 8, ROWS)
    path = tmp_path / f"val.{name}.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="it is not what was written"):
        blocks.finish()


def test_a_result_that_was_linked_outlives_what_comes_after(tmp_path):
    """A run that is killed after the link, and begun anew for another number of rows."""
    result = tmp_path / "out" / "logits.npy"
    link_file(fill(tmp_path, 0, ROWS).finish()["logits"], result)
    RowBlocks(tmp_path, "val", 3, {"logits": (np.float32, (3,))})
    assert result.read_bytes() == save_npy(ALL[0])
