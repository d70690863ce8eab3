"""The made-up worlds that the stacker was chosen by, and finished runs that it is tried on."""

from contextlib import chdir

import numpy as np
import pandas as pd
from synthetic_world import Plan, build_world

from benchmarks.stacker_study import show_projects, tell
from benchmarks.study.worlds import FIELDS, KINDS, make_world, run_world
from features.settings.sections import load_params
from stage2_ensemble.gate.gate import hold_gate
from stage2_ensemble.gate.out_of_fold import judge_candidates
from stage2_ensemble.tune.run import read_folds
from stage2_ensemble.tune.settings import TuneParams


def test_worlds_differ_by_kind_and_draw_alone():
    for kind in KINDS:
        learn, again, fresh = (make_world(kind, 3, 300, fresh=f) for f in (False, False, True))
        np.testing.assert_array_equal(learn.logits, again.logits)
        assert (learn.logits != fresh.logits).any()
        assert 0.7 < learn.labels.mean() < 0.9


def test_a_strong_signal_is_found_and_told():
    rows = run_world("strong", 0, ["default", "from zero"])
    assert [(row["kind"], row["variant"]) for row in rows] == [
        ("strong", "default"),
        ("strong", "from zero"),
    ]
    default = rows[0]
    assert default["ships"] == "lightgbm"
    assert default["shipped"] == default["added"] > 0.005
    table = tell(pd.DataFrame(rows))
    assert "| strong | 1 | default | +0.0" in table
    assert "1 of 1" in table


def test_the_table_counts_worlds():
    lines = [
        ("noise", world, "default", ships, 0.9, added, added if ships else 0.0)
        for world, (ships, added) in enumerate(
            [("lightgbm", -0.01), ("", -0.02), ("lightgbm", 0.02), ("", 0.04)]
        )
    ]
    line = tell(pd.DataFrame(lines, columns=FIELDS)).splitlines()[-1]
    assert line.startswith("| noise | 4 | default | +0.0075 ± ")
    assert "| 1: 25.0% [0.6%, 80.6%] |" in line  # Clopper and Pearson's interval
    assert "| 1 of 2 |" in line
    assert "| 0.0125 ± " in line  # 0.01 was lost, and 0.04 not won


def test_a_finished_run_is_held_to_the_gate_that_it_has(tmp_path, capsys):
    world = build_world(tmp_path / "faces", Plan(active=(0, 1)))
    before = sorted(path.stat().st_mtime_ns for path in world.root.rglob("*"))
    show_projects([world.root], ["default", "from zero"])
    assert before == sorted(path.stat().st_mtime_ns for path in world.root.rglob("*"))
    _, _, default, from_zero = capsys.readouterr().out.splitlines()
    rows, name, out_of_fold, gate, simple, ours, difference = default.strip("| ").split(" | ")
    assert (rows, name, gate) == ("`faces`, 300 in 2 folds", "default", "lightgbm ships")
    assert from_zero.startswith("| `faces`, 300 in 2 folds | from zero | ")

    with chdir(world.root):
        params = load_params(TuneParams)
        folds = read_folds(params)
    judged = judge_candidates(folds, params.stack, params.seed)
    (verdict,) = hold_gate(folds, judged, params.stack, params.gate, params.seed)
    assert out_of_fold == verdict.describe_difference()
    gain, low, high = (float(part.strip("[,]")) for part in difference.split())
    assert low < gain < high
    assert abs(gain - (float(ours) - float(simple))) < 0.0011
