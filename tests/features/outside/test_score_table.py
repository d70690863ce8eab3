"""Tables of scores, as people have them."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.errors import ManifestError
from features.lists.csv_blocks import Problems
from features.outside.score_table import ScoreTable, read_score_table
from features.settings.members import OutsideScores


def read(path: Path, problems: Problems | None = None, **settings: str) -> ScoreTable:
    values = {"kind": "probability", "learned_from": "none", **settings}
    entry = OutsideScores(scores=str(path), **values)
    return read_score_table(entry, "clip", problems or Problems())


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("img_name,score\na.png,0.25\nb.png,1\n", [0.25, 1.0]),
        ("\ufeffimg_name;score;note\r\na.png;0,25;x\r\nb.png;1;y\r\n", [0.25, 1.0]),
        ("# made by hand\nimg_name\tscore\na.png\t2.5e-1\nb.png\t1\n", [0.25, 1.0]),
        ("img_name,score\na.png,\nb.png,NaN\n", [math.nan, math.nan]),
        ("img_name,score\n", []),
    ],
    ids=["commas", "a BOM, semicolons and decimal commas", "tabs", "empty cells", "no rows"],
)
def test_text_in_its_forms(tmp_path, text, scores):
    path = tmp_path / "scores.csv"
    path.write_bytes(text.encode())
    table = read(path)
    assert table.names == ["a.png", "b.png"][: len(scores)]
    np.testing.assert_array_equal(table.scores, scores)
    assert table.embeddings.shape == (len(scores), 0)


def test_what_is_no_number_is_told_with_its_line(tmp_path):
    path, problems = tmp_path / "scores.csv", Problems()
    path.write_text("img_name,score\na.png,high\nb.png,0.5\nc.png,0.5.1\n")
    table = read(path, problems)
    assert problems.list_texts() == ["line 2: 'high' is no number", "line 4: '0.5.1' is no number"]
    np.testing.assert_array_equal(table.scores, [math.nan, 0.5, math.nan])


def test_other_columns_are_refused_with_the_settings_that_read_them(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("filename,y_pred\na.png,0.5\n")
    with pytest.raises(ManifestError, match="2 problems") as caught:
        read(path)
    assert "clip: {…, name: filename, score: y_pred}" in str(caught.value)
    assert read(path, name="filename", score="y_pred").names == ["a.png"]


def test_embeddings_by_the_beginning_of_their_columns(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("img_name,emb_0,score,emb_1\na.png,1,0.5,2\nb.png,3,0.5,\n")
    table = read(path, embeddings="emb_*")
    np.testing.assert_array_equal(table.embeddings, [[1, 2], [math.nan, math.nan]])
    with pytest.raises(ManifestError, match=r"no column fits embeddings: 'vec_\*'"):
        read(path, embeddings="vec_*")


@pytest.mark.parametrize("as_lists", [True, False])
def test_parquet_with_embeddings(tmp_path, as_lists):
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    columns = {"img_name": ["a.png", "b.png", "c.png"], "score": [0.5, None, 1.0]}
    if as_lists:
        columns["emb"] = [vectors[0].tolist(), None, vectors[2].tolist()]
    else:
        columns |= {f"emb{i}": [vectors[0, i], None, vectors[2, i]] for i in range(2)}
    path = tmp_path / "scores.parquet"
    pd.DataFrame(columns).to_parquet(path)
    table = read(path, embeddings="emb*")
    np.testing.assert_array_equal(table.scores, [0.5, math.nan, 1.0])
    np.testing.assert_array_equal(table.embeddings, [vectors[0], [math.nan] * 2, vectors[2]])


def test_an_embedding_that_float16_cannot_hold_is_a_problem(tmp_path):
    path, problems = tmp_path / "scores.csv", Problems()
    path.write_text("img_name,score,emb\na.png,0.5,1\nb.png,0.5,1e6\n")
    read(path, problems, embeddings="emb")
    assert problems.list_texts() == ["line 3: a value of its embedding is beyond 65,504"]


def test_lists_of_several_widths_are_refused(tmp_path):
    path = tmp_path / "scores.parquet"
    pd.DataFrame({"img_name": list("ab"), "score": 0.5, "emb": [[1.0], [1.0, 2.0]]}).to_parquet(
        path
    )
    with pytest.raises(ManifestError, match="lists of 1, 2 values"):
        read(path, embeddings="emb")
