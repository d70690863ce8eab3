"""What `make demo` ends with: the table on val and the place of the labels."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from rich.console import Console
from synthetic_world import BACKBONES

from features.core.files import read_json
from features.core.sums import write_sums
from features.errors import MissingArtifactError
from features.runtime.costs import Cost
from stage2_ensemble.display import tables
from stage2_ensemble.display.called_fake import build_called_fake
from stage2_ensemble.display.layout import render_table
from stage2_ensemble.display.member_tables import build_without
from stage2_ensemble.findings.scorers import PAIRED
from stage2_ensemble.models.candidates import CANDIDATES
from stage2_ensemble.sentences.intervals import format_interval
from stage2_ensemble.sentences.scorers import METRIC_TITLES
from stage2_ensemble.summary import run as summary


def print_summary(monkeypatch, capsys, width: int) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    capsys.readouterr()  # what making the world has said
    summary.run()
    return capsys.readouterr().out


def draw_metrics(*members: str, shipped: str = "rank_mean") -> dict:
    values = dict.fromkeys(METRIC_TITLES, 0.98765) | {"log_loss": 12.34567}
    for name in METRIC_TITLES:
        low, high = (10.25, 13.75) if name == "log_loss" else (0.97251, 0.99249)
        values |= {f"{name}_low": low, f"{name}_high": high}
    values |= {"groups": 300, "reliable": True}
    values |= {"false_positives_1e-2": 1, "false_positives_1e-3": None}
    val = {"members": dict.fromkeys(members, values)} | dict.fromkeys(CANDIDATES, values)
    null = {"auc": 0.61234, "auc_low": 0.55, "auc_high": 0.6789}
    gain = {}
    for name in ("auc", *PAIRED):
        gain |= {name: 0.0125, f"{name}_low": -0.0301, f"{name}_high": 0.0551}
    val |= {"stack": values, "shipped": shipped, "null_model": null}
    val["differences"] = {name: gain for name in ("mean", "best_single") if name != shipped}
    rows = {"val": {"reals": 100, "fakes": 200}}
    metrics = {"val": val, "rows": rows, "generators": {}, "domains": {"seen": draw_part()}}
    metrics |= {"blocks": {}, "without": {}, "backbone_figures": {}, "answers": {}}
    return metrics | {"called_fake": draw_called_fake()}


def draw_called_fake(*sources: str) -> dict:
    share = {"called_fake": 0.1, "called_fake_low": 0.05, "called_fake_high": 0.2}
    share |= {"rows": 1200, "groups": 60}
    wider = {"shared_low": 0.04, "shared_high": 0.3}
    named = [{**share, "name": name, **wider} for name in sources]
    reals = {"all": share, "sources": named, "generators": []}
    return {"reals": reals, "fakes": reals | {"sources": []}}


def draw_part(auc=0.9, null=0.5123, **others) -> dict:
    part = {"auc": auc, "auc_low": 0.85, "auc_high": 0.95, "null_auc": null}
    part |= {"groups": 50, "reliable": True}
    return part | {"against": "20 fakes of gan against 30 seen reals"} | others


def render(metrics: dict, width: int, build=tables.build_scorers) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(render_table(build(metrics)))
    return capture.get()


def find_line(text: str, name: str) -> str:
    return next(x for x in text.splitlines() if re.search(rf"[\s│┃]{re.escape(name)}\s", x))


@pytest.mark.parametrize("width", [80, 200])
def test_every_model_is_a_line_with_its_numbers(done, monkeypatch, capsys, width):
    text = print_summary(monkeypatch, capsys, width)
    assert max(map(len, text.splitlines())) <= width
    val = read_json(summary.METRICS, "evaluate")["val"]
    members = {f"{b}-{k}": val["members"][f"{b}-{k}"] for b in BACKBONES for k in done.plan.active}
    there = {name: val[name] for name in CANDIDATES if name in val}
    for name, values in (members | there).items():
        line = find_line(text, name)
        for metric in ("auc", "ap", "balanced_accuracy", "accuracy", "tpr_at_fpr_1e-2", "log_loss"):
            assert f"{values[metric]:.3f}" in line, (name, metric)


def test_what_ships_is_marked_and_nothing_else(done, monkeypatch, capsys):
    text = print_summary(monkeypatch, capsys, 80)
    shipped = read_json(summary.METRICS, "evaluate")["val"]["shipped"]
    assert re.findall(r"(\w+) \(ships\)", text) == [shipped]


def test_the_place_of_the_labels_and_the_rows_are_told(done, monkeypatch, capsys):
    text = print_summary(monkeypatch, capsys, 80)
    assert "120 real, 180 fake" in text
    assert text.splitlines()[-1] == "Final labels: artifacts/labels.csv"


def test_json_is_the_metrics_and_quiet_is_the_answer_alone(done, programs):
    def call(option: str) -> str:
        command = [programs / "python", "-m", "stage2_ensemble.summary", option]
        environment = {**os.environ, "PYTHONPATH": str(Path(summary.__file__).parents[2])}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout

    assert json.loads(call("--json")) == read_json(summary.METRICS, "evaluate")
    lines = call("--quiet").splitlines()
    assert lines[0].startswith("val: 120 real, 180 fake")
    assert lines[-1].split() == ["labels", "artifacts/labels.csv"]
    assert len(lines) < 10


@pytest.mark.parametrize("shipped", CANDIDATES)
def test_80_columns_hold_full_names_and_numbers(shipped):
    text = render(draw_metrics("efficientnet-0", "convnext_tiny-11", shipped=shipped), 80)
    names = {"efficientnet-0", "convnext_tiny-11", f"{shipped} (ships)", *CANDIDATES} - {shipped}
    for name in names:
        line = find_line(text, name)
        assert line.count("0.988") == 5
        assert "0.988 [0.972, 0.993]" in line  # rounded outwards
        assert "12.346" in line
    assert "…" not in text


def test_longer_names_take_two_lines_and_nothing_is_cut():
    name = "a_backbone_with_a_name_of_forty_letters-0"
    text = render(draw_metrics(name), 80)
    lines = [x.strip() for x in text.splitlines()]
    start = next(i for i, x in enumerate(lines) if x.startswith("a_backbone"))
    assert lines[start].split()[0] + lines[start + 1] == name
    assert lines[start].count("0.988") == 5
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_metric_that_could_not_be_measured_is_a_dash():
    metrics = draw_metrics("net-0")
    metrics["val"]["members"] = {"net-0": metrics["val"]["mean"] | {"tpr_at_fpr_1e-2": None}}
    line = next(x for x in render(metrics, 80).splitlines() if "net-0" in x)
    assert re.search(r"\s–\s", line)


def test_the_null_model_comes_last_and_has_an_auc_alone():
    lines = [x for x in render(draw_metrics("net-0"), 80).splitlines() if x.strip()]
    assert lines[-1].split() == ["null", "model", "0.612", "[0.550,", "0.679]", *"–––––"]


def test_a_backbone_of_several_folds_is_a_line_after_its_members():
    metrics = draw_metrics("net-0", "net-1")
    text = render(metrics, 80)
    assert "all folds" not in text
    auc = {"auc": 0.99, "auc_low": 0.98, "auc_high": 0.995}
    metrics["backbone_figures"] = {"net": {"spread": 2.5, "all_folds": auc}}
    names = [line.split()[0] for line in render(metrics, 80).splitlines() if "0.9" in line]
    assert names == ["net-0", "net-1", "net,", *CANDIDATES]
    line = find_line(render(metrics, 80), "net, all folds")
    assert "0.990 [0.980, 0.995]" in line
    assert line.count("–") == 5


# --- what ships, with all intervals


@pytest.mark.parametrize("shipped", ["mean", "best_single", "lightgbm"])
def test_every_metric_of_what_ships_has_its_interval(shipped):
    metrics = draw_metrics("net-0", shipped=shipped)
    loss = {"log_loss": 0.4391, "log_loss_low": 0.4, "log_loss_high": 1.05}
    metrics["val"]["stack"] = metrics["val"]["stack"] | loss
    text = render(metrics, 80, tables.build_shipped)
    lines = text.splitlines()
    assert "0.439 [0.400, 1.050]" in text
    assert f"what ships ({shipped}), 95 % intervals by 300 groups" in text
    assert max(map(len, lines)) <= 80
    assert "…" not in text
    for name in ("mean", "best_single"):
        assert (f"minus {name}" in text) == (name != shipped)
    assert text.count("0.988 [0.972, 0.993]") == len(METRIC_TITLES) - 1  # the log loss has another
    gains = len(metrics["val"]["differences"]) * (1 + len(PAIRED))
    assert text.count("+0.0125 ") == gains
    assert text.count("[-0.0301, +0.0551]") == gains  # on a line of its own


def test_wide_numbers_of_what_ships_are_not_cut():
    metrics = draw_metrics("net-0", shipped="lightgbm")
    wide = {"log_loss": -10.5, "log_loss_low": -12.25, "log_loss_high": -10.125}
    for name, values in metrics["val"]["differences"].items():
        metrics["val"]["differences"][name] = values | wide
    text = render(metrics, 80, tables.build_shipped)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    for part in ("12.346", "13.750]", "-10.5000", "[-12.2500, -10.1250]"):
        assert part in text


def test_a_metric_of_what_ships_that_could_not_be_measured_is_a_dash():
    metrics = draw_metrics("net-0", shipped="mean")
    nothing = {f"tpr_at_fpr_1e-3{end}": None for end in ("", "_low", "_high")}
    metrics["val"]["stack"] = metrics["val"]["stack"] | nothing
    lines = render(metrics, 80, tables.build_shipped).splitlines()
    place = next(i for i, line in enumerate(lines) if line.strip() == "0.1 %")
    assert lines[place - 1].split() == ["TPR", "at", "FPR", "–"]


@pytest.mark.parametrize("world", ["one fold", "three folds"])
def test_rows_behind_a_tpr_and_few_groups_are_told(enter, world, monkeypatch, capsys):
    enter(world)
    text = " ".join(print_summary(monkeypatch, capsys, 80).split())
    assert "false positives behind TPR at FPR 1 %:" in text
    assert "a few rows decide it" in text
    assert "not reliable" not in text
    metrics = read_json(summary.METRICS, "evaluate")
    metrics["val"]["stack"] |= {"groups": 12, "reliable": False}
    summary.METRICS.write_text(json.dumps(metrics))
    write_sums(summary.SUMS, [summary.METRICS])
    text = " ".join(print_summary(monkeypatch, capsys, 80).split())
    assert "interval not reliable: fewer than 20 groups" in text


# --- by generator and domain


def test_without_generators_and_new_domains_there_is_no_second_table():
    assert tables.build_comparisons(draw_metrics("net-0")) is None


def test_generators_and_domains_have_the_null_model_beside():
    metrics = draw_metrics("net-0")
    metrics["generators"] = {"gan": draw_part(domain="held_out")}
    metrics["domains"]["held_out"] = draw_part(0.7, None, against="20 held-out fakes")
    gap = {"auc": 0.2, "auc_low": 0.1, "auc_high": 0.3004, "against": "one, minus the other"}
    metrics["domains"]["gap"] = gap
    text = render(metrics, 120, tables.build_comparisons)
    lines = [" ".join(x.split()) for x in text.splitlines() if x.strip()]
    assert lines[-5:] == [
        "0.900 [0.850, 0.950] 0.512 held-out 20 fakes of gan against 30 seen reals",
        "0.900 [0.850, 0.950] 0.512 seen 20 fakes of gan against 30 seen reals",
        "0.700 [0.850, 0.950] – held-out 20 held-out fakes",
        "+0.2000 gap one, minus the other",
        "[+0.1000, +0.3004]",
    ]


def test_parts_of_few_groups_are_marked():
    metrics = draw_metrics("net-0")
    metrics["generators"] = {"gan": draw_part(domain="seen", reliable=False)}
    metrics["generators"]["warp"] = draw_part(domain="seen", against="20 fakes of warp")
    text = render(metrics, 80, tables.build_comparisons)
    assert text.count("[0.850, 0.950]*") == 1
    assert text.splitlines()[-1].strip().startswith("* fewer than 20 groups")
    metrics["generators"]["gan"]["reliable"] = True
    assert "*" not in render(metrics, 80, tables.build_comparisons)


def test_long_generators_are_folded_and_odd_ones_taken_as_they_are():
    metrics = draw_metrics("net-0")
    name = "a-generator-whose-name-alone-is-wider-than-its-column"
    against = f"20 fakes of {name} against 30 seen reals"
    odd = "5 fakes of [b]x[/b] against 30 seen reals"
    metrics["generators"] = {
        name: draw_part(domain="seen", against=against),
        "[b]x[/b]": draw_part(domain="unseen", against=odd),
    }
    text = render(metrics, 80, tables.build_comparisons)
    assert max(map(len, text.splitlines())) <= 80
    start = next(x.index("rows") for x in text.splitlines() if "rows" in x)
    joined = "".join(x[start:].strip() for x in text.splitlines())
    assert name in joined
    assert "of [b]x[/b] against" in text


def test_the_world_of_new_generators_shows_them(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished("new generators").root)
    text = print_summary(monkeypatch, capsys, 80)
    metrics = read_json(summary.METRICS, "evaluate")
    assert max(map(len, text.splitlines())) <= 80
    for part in (*metrics["generators"].values(), metrics["domains"]["unseen"]):
        assert format_interval(part) in text
    assert tables.format_gap(metrics["domains"]["gap"]).split("\n")[1] in text
    assert "Final labels: artifacts/labels.csv" in text


# --- called fake


def test_without_sources_and_generators_there_is_no_table_of_them():
    assert build_called_fake(draw_metrics("net-0")) is None


def test_the_worst_sources_are_shown_and_the_others_counted():
    metrics = draw_metrics("net-0")
    names = ["[b]phone[/b]", "a-source-whose-name-alone-is-wider-than-its-column-of-the-table"]
    names += [f"s{i}" for i in range(1234)]
    metrics["called_fake"] = draw_called_fake(*names)
    metrics["called_fake"]["reals"]["sources"][0] |= {"shared_low": 0.15}
    text = render(metrics, 80, build_called_fake)
    assert max(map(len, text.splitlines())) <= 80
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "all reals 0.100 [0.050, 0.200] 1,200 60" in lines
    assert "reals of [b]phone[/b] 0.100 [0.050, 0.200] 1,200 60 more often" in lines
    assert "reals of s7 0.100 [0.050, 0.200] 1,200 60 unclear" in lines
    assert "1,226 more sources" in lines
    assert "s8 " not in text


# --- reasons


def weigh(contribution: float | None, weight: float | None = None) -> dict:
    return {"contribution": contribution, "gain": None, "weight": weight}


def test_blocks_stand_beside_each_other_with_their_shares():
    metrics = draw_metrics("net-0", shipped="greedy")
    metrics["blocks"] = {
        "mean": {"backbone:a": weigh(9.0)},
        "greedy": {"backbone:a": weigh(3.0), "backbone:b": weigh(1.0)},
        "lightgbm": {"backbone:a": weigh(0.5), "file": weigh(0.5)},
    }
    lines = [" ".join(x.split()) for x in render(metrics, 80, tables.build_blocks).splitlines()]
    assert "columns (ships) lightgbm" in lines
    assert lines[-4:-1] == [
        "a 3.00 75 % 0.50 50 %",
        "b 1.00 25 % –",
        "file – 0.50 50 %",
    ]
    metrics["blocks"]["rank_mean"] = {
        "backbone:a": weigh(None, 0.5),
        "backbone:b": weigh(None, 0.5),
    }
    metrics["val"]["shipped"] = "rank_mean"
    lines = [" ".join(x.split()) for x in render(metrics, 80, tables.build_blocks).splitlines()]
    assert "b weight 0.50 –" in lines


def test_each_backbone_has_its_worth_and_its_cost():
    metrics = draw_metrics("net-0")
    metrics["without"] = {
        "a": {
            "name": "greedy",
            "auc": -0.00194,
            "auc_low": -0.00336,
            "auc_high": -0.00065,
            "val_auc": 0.0005,
            "val_auc_low": -0.0301,
            "val_auc_high": 0.0267,
        },
        "a-network-with-a-long-name": {
            "name": "greedy",
            "auc": -0.0001,
            "auc_low": -0.002,
            "auc_high": 0.001,
            "val_auc": 0.0,
            "val_auc_low": None,
            "val_auc_high": None,
        },
    }
    costs = {"a": Cost(12.34, 1.26)}
    text = render(metrics, 80, lambda m: build_without(m, costs))
    lines = [" ".join(x.split()) for x in text.splitlines()]
    place = lines.index("a -0.0019 +0.0005 yes 12 1.3")
    assert lines[place + 1] == "[-0.0034, -0.0006] [-0.0301, +0.0267]"
    assert any("-0.0001 +0.0000 unclear – –" in x for x in lines)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_one_backbone_alone_is_not_left_out():
    assert build_without(draw_metrics("net-0"), {}) is None


def test_both_tables_stand_in_the_summary(done, monkeypatch, capsys):
    text = print_summary(monkeypatch, capsys, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "what moves log-odds" in text
    assert re.search(r"net-b +[-+]0\.\d{4} ", text)
    assert "forensic:srm" in text


@pytest.mark.parametrize(("name", "stage"), [("metrics.json", "evaluate"), ("labels.csv", "label")])
def test_a_missing_file_names_its_stage(enter, name, stage):
    world = enter("one fold")
    (world.root / "artifacts" / name).unlink()
    with pytest.raises(MissingArtifactError, match=f"dvc repro {stage}$"):
        summary.run()
