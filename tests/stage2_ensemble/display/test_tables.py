"""Tables are built once, as plain text, whatever names hold."""

from rich.console import Console

from features.core.files import read_json
from stage2_ensemble.display.layout import Column, Row, TextTable, render_table
from stage2_ensemble.display.tables import list_tables
from stage2_ensemble.evaluate import run as evaluate


def test_names_mark_nothing_up_on_the_terminal_and_what_ships_stands_out():
    columns = (Column("[b]a[/b]"), Column("[i]n[/i]", "right"))
    rows = (Row(("[red]x[/red]", "1")), Row(("[b] of <img>", "10"), is_emphasised=True))
    table = TextTable("[bold]t[/bold]", columns, rows, "a note [of] it")
    console = Console(width=60, force_terminal=True, color_system="standard")
    with console.capture() as capture:
        console.print(render_table(table))
    text = capture.get()
    for name in ("[bold]t[/bold]", "[b]a[/b]", "[red]x[/red]", "[b] of <img>", "a note [of] it"):
        assert name in text
    (line,) = [line for line in text.splitlines() if "<img>" in line]
    assert "\x1b[1m[b] of <img>" in line
    assert "\x1b[1m" not in next(line for line in text.splitlines() if "[red]" in line)


def test_a_page_has_all_tables_and_no_seconds(finished):
    world = finished("new generators")
    metrics = read_json(world.root / evaluate.OUT / "metrics.json", "evaluate")
    tables = {
        table.title.partition(":")[0].partition(" (")[0]: table for table in list_tables(metrics)
    }
    assert {
        "val",
        "what ships",
        "perturbed pictures",
        "backbones by tier",
        "without a backbone",
    } <= set(tables)
    rows = {row.cells[0]: row.cells for row in tables["val"].rows}
    auc = metrics["val"]["members"]["net-a-0"]["auc"]
    assert rows["net-a-0"][1].startswith(f"{auc:.3f}")
    assert rows["null model"][1].startswith(f"{metrics['val']['null_model']['auc']:.3f}")
    without = tables["without a backbone"]
    assert not {"min", "s"} & {column.name for column in without.columns}
    assert "seconds" not in without.note
    assert all(
        len(row.cells) == len(table.columns) for table in tables.values() for row in table.rows
    )
