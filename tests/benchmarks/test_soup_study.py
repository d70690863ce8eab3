"""Soups on made-up sources that nobody has learned from."""

from benchmarks.soup_study import VARIANTS, run_world, tell


def test_soups_are_judged_beside_what_costs_as_much_and_told(capsys):
    rows = list(run_world("cue", 0, groups=1))
    assert tuple(row["variant"] for row in rows) == VARIANTS
    assert all(0 <= row["auc"] <= 1 for row in rows)
    tell(rows)
    assert "soup against one: AUC cannot tell with 1 seed" in " ".join(
        capsys.readouterr().out.split()
    )
