"""A figure is the same on the terminal, in the log, on the page and in the card."""

from collections import defaultdict

from rich.console import Console

from features.core.files import read_json
from features.core.number_text import format_difference, format_figure
from features.runtime.costs import UNKNOWN
from stage2_ensemble.charts.charts import build_charts
from stage2_ensemble.display.closing import print_closing
from stage2_ensemble.display.tables import list_tables
from stage2_ensemble.evaluate import run as evaluate
from stage2_ensemble.report.model_card import build_card
from stage2_ensemble.report.questions import answer_questions
from stage2_ensemble.sentences.log import list_log_lines
from stage2_ensemble.summary import run as summary

ROLES = ("train", "val")


def test_an_estimate_says_the_same_wherever_it_stands(finished, monkeypatch, capsys):
    world = finished("new generators")
    monkeypatch.chdir(world.root)
    monkeypatch.setenv("COLUMNS", "200")
    metrics = read_json(evaluate.OUT / "metrics.json", "evaluate")
    stack, gap = metrics["val"]["stack"], metrics["domains"]["gap"]
    auc = format_figure(stack["auc"], stack["auc_low"], stack["auc_high"])
    difference = format_difference(gap["auc"], gap["auc_low"], gap["auc_high"])
    summary.run()
    tables, answers = list_tables(metrics), answer_questions(metrics, [], metrics["val"]["shipped"])
    print_closing(metrics, None, summary.LABELS, Console(width=200))
    facts = {role: {"reals": 1, "fakes": 1, "groups": 2, "generators": {}} for role in ROLES}
    closing = capsys.readouterr().out.split("Final labels")
    said = {
        "log": " ".join(list_log_lines(metrics, defaultdict(lambda: UNKNOWN))),
        "summary": closing[0],
        "closing table": closing[1],
        "answers": " ".join(reason for answer in answers for reason in answer.reasons),
        "tables": " ".join(cell for table in tables for row in table.rows for cell in row.cells),
        "card": build_card(metrics, answers, tables, facts, {}, {}, "data", "square", 64).replace(
            "\\", ""
        ),
        "figures": " ".join(chart.text for chart in build_charts(metrics, {})),
    }
    for where, text in said.items():
        words = " ".join(text.split())
        assert auc in words, where
        assert difference in words or where == "summary", where  # there on two lines
