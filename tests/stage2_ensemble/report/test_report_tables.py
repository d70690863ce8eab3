"""The summary's tables as a page has them."""

from rich.markup import escape
from rich.table import Table

from features.core.files import read_json
from stage2_ensemble.evaluate import run as evaluate
from stage2_ensemble.report.tables import list_tables, read_table


def test_cells_are_plain_text_whatever_they_hold():
    table = Table(title="[bold]t[/bold]", caption="c")
    table.add_column("a")
    table.add_column("b")
    table.add_row("[red]x[/red]", escape("[b] of <img>"))
    found = read_table(table)
    assert (found.title, found.columns, found.note) == ("t", ("a", "b"), "c")
    assert found.rows == (("x", "[b] of <img>"),)


def test_a_page_has_all_tables_and_no_seconds(finished):
    world = finished("new generators")
    metrics = read_json(world.root / evaluate.OUT / "metrics.json", "evaluate")
    tables = {
        table.title.partition(":")[0].partition(" (")[0]: table for table in list_tables(metrics)
    }
    assert {"val", "what ships", "perturbed pictures", "without a backbone"} <= set(tables)
    rows = {row[0]: row for row in tables["val"].rows}
    auc = metrics["val"]["members"]["net-a-0"]["auc"]
    assert rows["net-a-0"][1].startswith(f"{auc:.4f}")
    assert rows["null model"][1].startswith(f"{metrics['val']['null_model']['auc']:.4f}")
    without = tables["without a backbone"]
    assert not {"min", "s"} & set(without.columns)
    assert "seconds" not in without.note
    assert all(len(row) == len(table.columns) for table in tables.values() for row in table.rows)
