"""Figures: from tables alone, the same bytes each time, and no name can do harm in them."""

import copy
import hashlib
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from features.core.files import read_json
from features.core.number_text import format_figure
from stage2_ensemble.charts.charts import CHART_TITLES, build_charts, render_svg, write_pngs
from stage2_ensemble.charts.style import LONGEST, cut
from stage2_ensemble.evaluate import run as evaluate
from stage2_ensemble.findings.final_run import tabulate_last
from stage2_ensemble.sentences.scorers import describe_rates

HOSTILE = '<img src=x onerror="alert(1)"> $x_1$ & so on, and on'


def read_tables(folder) -> dict[str, pd.DataFrame]:
    return {path.stem: pd.read_csv(path) for path in folder.glob("*.csv")}


@pytest.fixture(scope="module")
def run(finished):
    folder = finished("new generators").root / evaluate.OUT
    return read_json(folder / "metrics.json", "evaluate"), read_tables(folder / "plots")


def make_robustness() -> pd.DataFrame:
    rows = []
    variants = [("clean", np.nan), ("web", np.nan), ("jpeg", 90.0), ("blur", 1.5)]
    for place, (name, strength) in enumerate(variants):
        auc, change = 0.9 - 0.1 * place, -0.1 * place
        values = {"auc": auc, "auc_low": auc - 0.1, "auc_high": auc + 0.05, "change": change}
        values |= {"change_low": change - 0.05, "change_high": change + 0.05, "rows": 300}
        for scorer in ("stack", "mean", "best_single"):
            rows.append({"perturbation": name, "strength": strength, "scorer": scorer, **values})
    return pd.DataFrame(rows)


def make_histories(members: int = 2) -> dict[str, pd.DataFrame]:
    rows = pd.DataFrame(
        [
            {"backbone": f"b{member}", "fold": 0, "epoch": epoch, "loss": 1 / epoch, "lr": 1e-3,
             "raw_auc": np.nan, "ema_auc": 0.6 + 0.1 * epoch, "real_share": 0.5, "seen_real": 100,
             "repeats_real_mean": 1.0, "repeats_real_max": 2.0, "seen_fake": 400,
             "repeats_fake_mean": 0.4, "repeats_fake_max": 1.0}
            for member in range(members) for epoch in (1, 2, 3)
        ]
    )  # fmt: skip
    return {"learning": rows, "sampler": rows}


def test_there_is_a_figure_for_all_that_was_measured(run):
    metrics, tables = run
    charts = build_charts(metrics, tables | make_histories() | {"robustness": make_robustness()})
    assert [chart.name for chart in charts] == list(CHART_TITLES)


def test_words_hold_the_figures_of_metrics_json(run):
    metrics, tables = run
    charts = {c.name: c.text for c in build_charts(metrics, tables | make_histories())}
    stack = metrics["val"]["stack"]
    assert (
        f"AUC {format_figure(stack['auc'], stack['auc_low'], stack['auc_high'])}"
        in (charts["scorers_auc"])
    )
    assert describe_rates(metrics["answers"]) in charts["roc_log"]
    counts = tables["confusion"].set_index("label")
    assert counts.to_numpy().sum() == sum(metrics["rows"]["val"].values())
    assert f"{counts.loc['fake', 'fake']} are called fake" in charts["confusion_matrix"]
    assert "ends at a loss of 0.333 (AUC, averaged 0.900)" in charts["learning_curves"]


def test_tables_agree_with_metrics_json(run):
    metrics, tables = run
    scorers = tables["scorers"].set_index("name")
    for name, values in metrics["val"]["members"].items():
        assert scorers.loc[name, "auc"] == pytest.approx(values["auc"])
    assert scorers.loc["null model", "auc"] == pytest.approx(metrics["val"]["null_model"]["auc"])
    parts = tables["parts"].set_index("name")
    assert parts.loc["seen minus unseen", "auc"] == pytest.approx(metrics["domains"]["gap"]["auc"])
    listed = tables["called_fake"].set_index(["label", "kind", "name"])
    for entry in metrics["called_fake"]["reals"]["sources"]:
        row = listed.loc["real", "source", entry["name"]]
        assert row["called_fake"] == pytest.approx(entry["called_fake"])
    assert {"real", "fake"} == set(tables["called_fake"]["label"])
    histogram = tables["score_histogram"]
    assert histogram["real"].sum() == metrics["rows"]["val"]["reals"]
    assert histogram["fake"].sum() == metrics["rows"]["val"]["fakes"]


def test_pictures_are_the_same_bytes_each_time(run, tmp_path):
    digests = []
    for place in ("a", "b"):
        write_pngs(build_charts(*run), tmp_path / place)
        files = sorted((tmp_path / place).iterdir())
        digests.append({f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files})
    assert digests[0] == digests[1]
    assert set(digests[0]) == {f"{name}.png" for name in CHART_TITLES}
    with Image.open(tmp_path / "a" / "roc_log.png") as image:
        assert image.width >= 800
        assert len(image.convert("L").getcolors()) > 10  # something was drawn


def test_svgs_are_for_any_page(run):
    charts = build_charts(*run)
    found = [render_svg(chart) for chart in charts]
    assert found == [render_svg(chart) for chart in build_charts(*run)]
    ids: set[str] = set()
    for text, chart in zip(found, charts, strict=True):
        root = ET.fromstring(text)
        assert root.get("role") == "img"
        assert root.get("width") is None
        assert root.find("{http://www.w3.org/2000/svg}desc").text == chart.text
        links = [v for node in root.iter() for k, v in node.items() if k.endswith("href")]
        assert all(link.startswith("#") for link in links)
        own = {node.get("id") for node in root.iter()} - {None}
        assert not own & ids
        assert {link[1:] for link in links} <= own
        ids |= own
        assert "#000000" not in text


@pytest.mark.fault("hostile file names (`<img onerror=…>`)")
def test_hostile_names_are_shown_as_they_are(run):
    metrics = copy.deepcopy(run[0])
    values, *rest = metrics["generators"].values()
    metrics["generators"] = {HOSTILE: values, "other": rest[0]}
    values["auc"] = 0.01
    chart = {c.name: c for c in build_charts(metrics, run[1])}["parts_auc"]
    text = render_svg(replace(chart, title=HOSTILE))
    shown = [node.text for node in ET.fromstring(text).iter() if node.text]
    assert HOSTILE in shown
    assert cut(HOSTILE) in " ".join(shown)
    assert "<img" not in text


def test_long_names_lose_their_middle():
    name = cut("generator " + "x" * 80 + " end")
    assert len(name) == LONGEST
    assert name.startswith("generator")
    assert name.endswith("end")


def test_many_members_and_generators_are_cut_and_said_to_be(run):
    metrics, tables = copy.deepcopy(run[0]), run[1]
    member = next(iter(metrics["val"]["members"].values()))
    metrics["val"]["members"] = {f"m{i}-0": {**member, "auc": 0.5 + i / 100} for i in range(15)}
    part = next(iter(metrics["generators"].values()))
    metrics["generators"] = {f"g{i:02}": {**part, "auc": 0.4 + i / 200} for i in range(60)}
    source = metrics["called_fake"]["reals"]["sources"][0]
    metrics["called_fake"]["reals"]["sources"] = [{**source, "name": f"s{i}"} for i in range(44)]
    charts = {c.name: c for c in build_charts(metrics, tables | make_histories(9))}
    assert "34 more are not shown" in charts["called_fake"].text
    assert "Of 15 members" in charts["scorers_auc"].text
    assert "39 more" in charts["parts_auc"].text
    assert "3 more are not shown" in charts["learning_curves"].text
    labels = [t.get_text() for t in charts["parts_auc"].figure.axes[0].get_yticklabels()]
    assert "g00" in labels
    assert "g59" not in labels
    assert all(chart.figure.get_figheight() < 12 for chart in charts.values())


def test_without_val_only_the_training_is_shown():
    last = {"val": None, "shipped": "mean", "out_of_fold": {"without": {}}}
    charts = build_charts(last, tabulate_last(last) | make_histories())
    assert [chart.name for chart in charts] == ["learning_curves", "sampler_draws"]
