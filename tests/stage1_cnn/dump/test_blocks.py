import itertools
import json

import numpy as np
import pytest

from stage1_cnn.dump.blocks import ScoreBlocks
from stage1_cnn.scoring.rows import ScoredRows

ROWS, WIDTH = 20, 3


def draw_scores(rows=ROWS, seed=0):
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(rows, WIDTH)).astype(np.float16)
    return ScoredRows(rng.normal(size=rows).astype(np.float32), embeddings)


ALL = draw_scores()


def cut(start, stop):
    return ScoredRows(ALL.logits[start:stop], ALL.embeddings[start:stop])


def fill(folder, *edges):
    """Blocks between the edges, of two batches each where they are long enough."""
    blocks = ScoreBlocks(folder, "val", ROWS, WIDTH)
    for start, stop in itertools.pairwise(edges):
        blocks.begin(start)
        blocks.add(cut(start, start + 1))
        blocks.add(cut(start + 1, stop))
        blocks.save()
    return blocks


def open_again(folder):
    return ScoreBlocks(folder, "val", ROWS, WIDTH)


def check_whole(blocks):
    assert blocks.list_missing() == []
    found = blocks.read()
    np.testing.assert_array_equal(found.logits, ALL.logits)
    np.testing.assert_array_equal(found.embeddings, ALL.embeddings)


def test_scores_come_back_and_files_have_their_size_from_the_start(tmp_path):
    assert open_again(tmp_path).list_missing() == [(0, ROWS)]
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("*.bin")}
    assert sizes == {"val.logits.bin": 4 * ROWS, "val.embeddings.bin": 2 * ROWS * WIDTH}
    check_whole(fill(tmp_path, 0, 8, ROWS))
    check_whole(open_again(tmp_path))


def test_what_was_not_saved_is_missing(tmp_path):
    blocks = fill(tmp_path, 0, 8)
    blocks.add(cut(8, 12))
    assert open_again(tmp_path).list_missing() == [(8, ROWS)]
    blocks.save()
    assert open_again(tmp_path).list_missing() == [(12, ROWS)]


@pytest.mark.parametrize("name", ["logits", "embeddings"])
def test_a_damaged_block_is_missing_and_can_be_filled_in(tmp_path, caplog, name):
    fill(tmp_path, 0, 4, 8, 12, ROWS)
    path = tmp_path / f"val.{name}.bin"
    content = bytearray(path.read_bytes())
    content[5 * len(content) // ROWS] ^= 1
    path.write_bytes(content)
    blocks = open_again(tmp_path)
    assert blocks.list_missing() == [(4, 8)]
    assert "1 damaged blocks" in caplog.text
    blocks.begin(4)
    blocks.add(cut(4, 8))
    blocks.save()
    check_whole(open_again(tmp_path))


@pytest.mark.parametrize("name", ["val.json", "val.logits.bin", "val.embeddings.bin"])
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
    blocks = ScoreBlocks(tmp_path, "test", 0, WIDTH)
    assert blocks.list_missing() == []
    assert blocks.read().logits.shape == (0,)
    assert blocks.read().embeddings.shape == (0, WIDTH)
