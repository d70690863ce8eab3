"""The made-up worlds that the stacker was chosen by."""

import numpy as np
import pandas as pd
from rich.console import Console

from benchmarks.stacker_study import FRESH, KINDS, make_world, run_world, tell


def test_worlds_differ_by_kind_and_draw_alone():
    for kind in KINDS:
        learn, again, fresh = (make_world(kind, 3, 300, fresh=f) for f in (False, False, True))
        np.testing.assert_array_equal(learn.logits, again.logits)
        assert (learn.logits != fresh.logits).any()
        assert 0.7 < learn.labels.mean() < 0.9


def test_a_strong_signal_is_found_and_told(capsys):
    rows = run_world("strong", 0, ["stumps", "15 leaves from zero"])
    assert [row["variant"] for row in rows] == ["stumps", "15 leaves from zero"]
    stumps = rows[0]
    assert stumps["outcome"] == "won"
    assert stumps["auc"] > stumps["simple"] + 0.005
    tell(pd.DataFrame(rows), Console(width=120))
    said = capsys.readouterr().out
    assert "stumps" in said
    assert "100%" in said
    assert FRESH == 10_000
