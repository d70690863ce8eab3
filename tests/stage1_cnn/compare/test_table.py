"""The tables and the figure: readable in 80 columns, the same on all media, honest about limits."""

import io
from dataclasses import replace

import numpy as np
import pytest
from compared_runs import BASE, GOOD, make_runs
from PIL import Image
from rich.console import Console

from features.core.auc import AucEstimate
from stage1_cnn.compare.figure import write_figure
from stage1_cnn.compare.statistics import summarise_runs
from stage1_cnn.compare.table import (
    Judges,
    build_csv,
    build_grids,
    format_markdown,
    format_seeds,
    list_notes,
    list_verdicts,
    print_report,
)

VARIANTS = ["natural", "balanced"]
JUDGES = Judges("fold 2", 1234, 5678, 0.0123)


def make_entries(seeds=4, sizes=(1000, 498_000)):
    values = {
        ("natural", "raw"): BASE[:seeds],
        ("natural", "ema"): BASE[1 : seeds + 1] + BASE[: max(0, seeds - 3)],
        ("balanced", "raw"): GOOD[:seeds],
    }
    runs = [run for size in sizes for run in make_runs(values, size)]
    return summarise_runs(runs, VARIANTS)


def make_parts(entries):
    verdicts = list_verdicts(entries, "natural")
    return build_grids(entries, "natural"), verdicts, list_notes(entries, JUDGES, {"trained"})


def print_parts(parts):
    console = Console(file=io.StringIO(), width=80)
    print_report(*parts, console)
    return console.file.getvalue()


def test_terminal_shows_whole_figures_in_80_columns():
    text = print_parts(make_parts(make_entries()))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    assert "498,000 natural + EMA" in text
    assert "+0.0500 ± 0.0226" in text


def test_notes_say_what_the_intervals_leave_out():
    text = " ".join(make_parts(make_entries())[2])
    assert "fold 2 has but 1,234 real and 5,678 fake rows: fold 2 itself leaves ± 0.0123" in text
    assert "which rows were taken" in text
    assert "With 4 seeds the true deviation may be 0.6 to 3.7 times" in text
    assert "corrected for all differences" in text


def test_notes_speak_of_initial_weights_only_where_some_are_drawn():
    entries = make_entries()
    trained, frozen, both = (
        " ".join(list_notes(entries, JUDGES, kinds))
        for kinds in ({"trained"}, {"frozen"}, {"trained", "frozen"})
    )
    assert "other draws, and weights that are not pretrained. " in trained
    assert "not pretrained" not in frozen
    assert "loss" not in frozen
    assert "other inner folds by which the head's prior is chosen. " in frozen
    assert "other draws, and weights that are not pretrained, or inner folds by which" in both
    assert "frozen encoder" in both
    assert "frozen" not in trained


def test_what_holds_for_other_rows_has_a_table_of_its_own():
    differences = {
        "balanced": (AucEstimate(0.05, 0.011, 0.09), ("+0.0500 [+0.0110, +0.0900]", "better")),
        "natural + EMA": (AucEstimate(-0.01, -0.03, 0.01), ("-0.0100 [-0.0300", "cannot tell")),
    }
    entries = [
        replace(e, over_rows=differences[e.name][0]) if e.name in differences else e
        for e in make_entries(sizes=(1000,))
    ]
    parts = make_parts(entries)
    text = print_parts(parts)
    assert max(len(line) for line in text.splitlines()) <= 80
    shown = {cells[1]: cells[2:] for cells in parts[0][2].rows}
    for name, (_, (figure, verdict)) in differences.items():
        assert shown[name][0].replace("−", "-").startswith(figure)
        assert shown[name][1] == verdict
    assert "other rows like those of fold 2" in " ".join(parts[2])
    row = build_csv(entries).set_index("entry").loc["balanced"]
    assert (row["delta_auc_rows_low"], row["delta_auc_rows_high"]) == (0.011, 0.09)


def test_one_verdict_for_each_entry_and_rows():
    verdicts = make_parts(make_entries())[1]
    assert len(verdicts) == 4
    assert verdicts[1].startswith("1,000 rows: balanced against natural: AUC better (p 0.0")
    assert "accuracy cannot tell with 4 seeds" in verdicts[1]


def test_one_seed_promises_nothing():
    grids, verdicts, notes = make_parts(make_entries(seeds=1))
    assert grids[1].rows[1] == ("1,000", "balanced", "+0.0500", "-", "+0.0000", "-")
    assert all("cannot tell with 1 seed" in verdict for verdict in verdicts)
    assert not any("needs" in note for note in notes)


def test_a_single_variant_has_no_second_table():
    entries = summarise_runs(make_runs({("natural", "raw"): BASE}), ["natural"])
    grids, verdicts, notes = make_parts(entries)
    assert (len(grids), verdicts, len(notes)) == (1, [], 2)


def test_a_variant_that_diverges_with_some_seeds_is_not_called_better_for_it():
    values = {("natural", "raw"): [*BASE, 0.8], ("balanced", "raw"): GOOD}
    found = summarise_runs(make_runs(values), VARIANTS, diverged=[(100, "balanced")])
    over = AucEstimate(0.05, 0.011, 0.09)
    entries = [replace(e, over_rows=over) if e.name == "balanced" else e for e in found]
    (means, _, over_rows), (verdict,), notes = make_parts(entries)
    assert [cells[1:3] for cells in means.rows] == [("natural", "5"), ("balanced", "4 of 5")]
    assert "AUC cannot tell: 1 seed diverged (p 0.0" in verdict
    assert over_rows.rows[0][3] == "cannot tell"
    assert "left out of all figures of balanced (100 rows)" in " ".join(notes)
    table = build_csv(entries).set_index("entry")
    assert table["diverged"].to_dict() == {"natural": 0, "balanced": 1}
    assert table.loc["balanced", "delta_auc_verdict"] == "cannot tell: 1 seed diverged"


def test_a_variant_that_diverges_and_is_worse_is_called_worse():
    values = {("natural", "raw"): GOOD, ("balanced", "raw"): BASE}
    entries = summarise_runs(make_runs(values), VARIANTS, diverged=[(100, "balanced")])
    assert "AUC worse (p 0.0" in list_verdicts(entries, "natural")[0]


def test_markdown_holds_the_same_cells():
    parts = make_parts(make_entries())
    text = format_markdown(*parts)
    for grid in parts[0]:
        assert all(f"| {' | '.join(cells)} |" in text for cells in (grid.headers, *grid.rows))
    assert all(f"- {line}" in text for line in parts[1] + parts[2])


def test_csv_holds_all_figures():
    table = build_csv(make_entries()).set_index(["rows", "entry"])
    row = table.loc[(1000, "balanced")]
    assert row["auc"] == pytest.approx(np.mean(GOOD))
    assert row["delta_auc"] == pytest.approx(0.05)
    assert row["delta_auc_low"] < 0.05 < row["delta_auc_high"]
    assert row["delta_auc_verdict"] == "better"
    assert np.isnan(table.loc[(1000, "natural"), "delta_auc"])


def test_many_seeds_are_told_as_such():
    assert [format_seeds(n) for n in (None, 12, 1000, 1001)] == ["-", "12", "1000", "> 1000"]


@pytest.mark.parametrize("sizes", [(1000,), (300, 1000, 498_000)])
@pytest.mark.parametrize("seeds", [1, 4])
def test_figure_is_drawn(tmp_path, sizes, seeds):
    path = tmp_path / "compare.png"
    write_figure(make_entries(seeds, sizes), "resnet on fold 0", path)
    with Image.open(path) as image:
        assert image.width == 1600  # twice the 800 pixels in which it is to be read
        assert len(set(np.asarray(image.convert("RGB")).reshape(-1, 3)[:, 0])) > 10
