"""What `make demo` ends with: the table on val and the place of the labels."""

import re

import pytest
from rich.console import Console
from synthetic_world import BACKBONES

from features.errors import MissingArtifactError
from features.files import read_json
from stage2_ensemble import summary
from stage2_ensemble.ensemble import CANDIDATES


def print_summary(monkeypatch, capsys, width: int) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    summary.main()
    return capsys.readouterr().out


def draw_metrics(*members: str, shipped: str = "rank_mean") -> dict:
    names = ("auc", "ap", "accuracy", "balanced_accuracy", "tpr_at_fpr_1e-2", "tpr_at_fpr_1e-3")
    values = dict.fromkeys(names, 0.98765) | {"log_loss": 12.34567}
    val = {"members": dict.fromkeys(members, values)} | dict.fromkeys(CANDIDATES, values)
    val |= {"stack": values, "shipped": shipped}
    return {"val": val, "rows": {"val": {"reals": 100, "fakes": 200}}}


def render(metrics: dict, width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(summary.build_table(metrics))
    return capture.get()


@pytest.mark.parametrize("width", [80, 200])
def test_every_model_is_a_line_with_its_numbers(done, monkeypatch, capsys, width):
    text = print_summary(monkeypatch, capsys, width)
    assert max(map(len, text.splitlines())) <= width
    val = read_json(summary.METRICS, "evaluate")["val"]
    members = {f"{b}-{k}": val["members"][f"{b}-{k}"] for b in BACKBONES for k in done.plan.active}
    for name, values in (members | {name: val[name] for name in CANDIDATES}).items():
        line = next(x for x in text.splitlines() if re.search(rf"[\s│┃]{name}\s", x))
        for metric in ("auc", "ap", "balanced_accuracy", "accuracy", "tpr_at_fpr_1e-2", "log_loss"):
            assert f"{values[metric]:.4f}" in line, (name, metric)


def test_what_ships_is_marked_and_nothing_else(done, monkeypatch, capsys):
    text = print_summary(monkeypatch, capsys, 80)
    shipped = read_json(summary.METRICS, "evaluate")["val"]["shipped"]
    assert re.findall(r"(\w+) \(ships\)", text) == [shipped]


def test_the_place_of_the_labels_and_the_rows_are_told(done, monkeypatch, capsys):
    text = print_summary(monkeypatch, capsys, 80)
    assert "120 real, 180 fake" in text
    assert text.splitlines()[-1] == "Final labels: artifacts/labels.csv"


@pytest.mark.parametrize("shipped", CANDIDATES)
def test_80_columns_hold_full_names_and_numbers(shipped):
    text = render(draw_metrics("efficientnet-0", "convnext_tiny-11", shipped=shipped), 80)
    names = {"efficientnet-0", "convnext_tiny-11", f"{shipped} (ships)", *CANDIDATES} - {shipped}
    for name in names:
        line = next(x for x in text.splitlines() if re.search(rf"[\s│┃]{re.escape(name)}\s", x))
        assert line.count("0.9877") == 5
        assert "12.3457" in line
    assert "…" not in text


def test_longer_names_take_two_lines_and_nothing_is_cut():
    name = "a_backbone_with_a_name_of_forty_letters-0"
    text = render(draw_metrics(name), 80)
    lines = [x.strip() for x in text.splitlines()]
    start = next(i for i, x in enumerate(lines) if x.startswith("a_backbone"))
    assert lines[start].split()[0] + lines[start + 1] == name
    assert lines[start].count("0.9877") == 5
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_metric_that_could_not_be_measured_is_a_dash():
    metrics = draw_metrics("net-0")
    metrics["val"]["members"] = {"net-0": metrics["val"]["mean"] | {"tpr_at_fpr_1e-2": None}}
    line = next(x for x in render(metrics, 80).splitlines() if "net-0" in x)
    assert re.search(r"\s–\s", line)


@pytest.mark.parametrize(("name", "stage"), [("metrics.json", "evaluate"), ("labels.csv", "label")])
def test_a_missing_file_names_its_stage(enter, name, stage):
    world = enter("one fold")
    (world.root / "artifacts" / name).unlink()
    with pytest.raises(MissingArtifactError, match=f"dvc repro {stage}$"):
        summary.main()
