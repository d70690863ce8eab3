"""The summary's tables as a page has them."""

import logging

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from features.core.files import read_json
from features.core.number_text import format_difference, format_figure
from stage2_ensemble.charts.charts import build_charts
from stage2_ensemble.display.closing import print_closing
from stage2_ensemble.evaluate import run as evaluate
from stage2_ensemble.findings.log import log_metrics
from stage2_ensemble.report.model_card import build_card
from stage2_ensemble.report.questions import answer_questions
from stage2_ensemble.report.tables import list_tables, read_table
from stage2_ensemble.summary import run as summary

ROLES = ("train", "val")


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
    assert rows["net-a-0"][1].startswith(f"{auc:.3f}")
    assert rows["null model"][1].startswith(f"{metrics['val']['null_model']['auc']:.3f}")
    without = tables["without a backbone"]
    assert not {"min", "s"} & set(without.columns)
    assert "seconds" not in without.note
    assert all(len(row) == len(table.columns) for table in tables.values() for row in table.rows)


def test_an_estimate_says_the_same_wherever_it_stands(finished, monkeypatch, capsys, caplog):
    world = finished("new generators")
    monkeypatch.chdir(world.root)
    monkeypatch.setenv("COLUMNS", "200")
    metrics = read_json(evaluate.OUT / "metrics.json", "evaluate")
    stack, gap = metrics["val"]["stack"], metrics["domains"]["gap"]
    auc = format_figure(stack["auc"], stack["auc_low"], stack["auc_high"])
    difference = format_difference(gap["auc"], gap["auc_low"], gap["auc_high"])
    with caplog.at_level(logging.INFO, "forgerystack"):
        log_metrics(metrics)
    summary.run()
    tables, answers = list_tables(metrics), answer_questions(metrics, [])
    print_closing(metrics, None, summary.LABELS, Console(width=200))
    facts = {role: {"reals": 1, "fakes": 1, "groups": 2, "generators": {}} for role in ROLES}
    closing = capsys.readouterr().out.split("Final labels")
    said = {
        "log": "\n".join(caplog.messages),
        "summary": closing[0],
        "closing table": closing[1],
        "answers": " ".join(reason for answer in answers for reason in answer.reasons),
        "tables": " ".join(cell for table in tables for row in table.rows for cell in row),
        "card": build_card(metrics, answers, tables, facts, {}, "data").replace("\\", ""),
        "figures": " ".join(chart.text for chart in build_charts(metrics, {})),
    }
    for where, text in said.items():
        words = " ".join(text.split())
        assert auc in words, where
        assert difference in words or where == "summary", where  # there on two lines
