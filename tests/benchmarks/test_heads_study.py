"""The made-up sources that heads and pairs are judged on."""

import numpy as np
import pytest

from benchmarks.heads_study import FIELDS, KINDS, LEARNED, SOURCES, make_world, run_world, tell


@pytest.mark.parametrize("kind", KINDS)
def test_fakes_share_the_contents_of_their_real_and_sources_are_held_out_whole(kind, tmp_path):
    train, store = make_world(kind, 0, 2, tmp_path)
    sources = train.table["source"].to_numpy(str)
    held = set(sources[train.fold_rows(0)])
    assert len(held) == SOURCES - LEARNED
    assert not held & set(sources[train.rows_to_learn(0).row_ids])
    pixels = store.gather(np.arange(len(train))).astype(float)
    real = np.flatnonzero(train.labels == 0)[-1]
    fake = np.flatnonzero((train.labels == 1) & (train.groups == train.groups[real]))[0]
    near, far = (np.abs(pixels[fake] - pixels[row]).mean() for row in (real, 0))
    assert near < 0.7 * far


def test_variants_are_judged_and_told(capsys):
    rows = run_world("uneven", 0, ["linear", "sphere-pairs"], groups=1)
    assert [(row["variant"], row["weights"]) for row in rows] == [
        (variant, weights) for variant in ("linear", "sphere-pairs") for weights in ("raw", "ema")
    ]
    assert all(list(row) == list(FIELDS) for row in rows)
    tell(rows)
    said = " ".join(capsys.readouterr().out.split())
    assert "uneven" in said
    assert "sphere-pairs + EMA against linear: AUC cannot tell with 1 seed" in said
