"""Whose axes embeddings have: those of trained networks may not be pooled over folds."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from features.errors import AlignmentError
from stage2_ensemble.columns.embeddings import FoldEmbeddings, SharedEmbeddings, pool_embeddings

ROOT = Path(__file__).parents[3]
ROWS = np.arange(6, dtype=np.float16).reshape(3, 2)
PLANTED = """
import numpy as np
from stage2_ensemble.columns.embeddings import FoldEmbeddings, SharedEmbeddings, pool_embeddings

rows = np.zeros((3, 2), np.float16)
pool_embeddings([SharedEmbeddings(rows, "a"), SharedEmbeddings(rows, "a")])
pool_embeddings([FoldEmbeddings(rows), FoldEmbeddings(rows)])
pool_embeddings([SharedEmbeddings(rows, "a"), FoldEmbeddings(rows)])
"""


def test_rows_of_one_encoder_are_one_table():
    pooled = pool_embeddings([SharedEmbeddings(ROWS, "a"), SharedEmbeddings(ROWS + 1, "a")])
    np.testing.assert_array_equal(pooled.rows, np.concatenate([ROWS, ROWS + 1]))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([FoldEmbeddings(ROWS), FoldEmbeddings(ROWS)], "2 of a network that was trained"),
        ([SharedEmbeddings(ROWS, "a"), FoldEmbeddings(ROWS)], "1 of a network that was trained"),
        ([SharedEmbeddings(ROWS, "a"), SharedEmbeddings(ROWS, "b")], "'a', 'b'"),
    ],
)
def test_others_are_refused(parts, said):
    with pytest.raises(AlignmentError, match=said):
        pool_embeddings(parts)


def test_the_checker_of_types_finds_trained_networks_among_what_is_pooled(tmp_path):
    """Both planted mix-ups, and nothing else."""
    planted = tmp_path / "planted.py"
    planted.write_text(PLANTED)
    command = [
        "-m",
        "mypy",
        "--no-site-packages",
        "--ignore-missing-imports",
        "--cache-dir",
        str(tmp_path),
        str(planted),
    ]
    where = {**os.environ, "MYPYPATH": str(ROOT), "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, *command, "--config-file="], cwd=tmp_path, env=where, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    errors = [
        line for line in run.stdout.splitlines() if "planted.py" in line and ": error:" in line
    ]
    assert [line.split(":")[1] for line in errors] == ["7", "7", "8"], run.stdout
    assert all('"FoldEmbeddings"; expected "SharedEmbeddings"' in line for line in errors)
