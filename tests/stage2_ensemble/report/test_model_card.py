"""The model card: true to metrics.json, readable by Hugging Face, and no name marks it up."""

import re

import pytest
import yaml
from huggingface_hub import ModelCard

from features.core.files import read_json
from features.settings.members import OutsideScores
from stage2_ensemble.display.layout import Column, Row, TextTable
from stage2_ensemble.display.tables import list_tables
from stage2_ensemble.evaluate import run as evaluate
from stage2_ensemble.report.model_card import build_card
from stage2_ensemble.report.questions import Answer

SUMMARY = {
    role: {"reals": 1200, "fakes": 50, "groups": 70, "generators": {"<b>warp</b>|x": {}}}
    for role in ("train", "val")
}
BACKBONES = {
    "a": {"model": "resnet18", "pretrained": True},
    "b": {
        "model": "vit",
        "pretrained": "w.safetensors",
        "image_size": 224,
        "images": {"mode": "crop"},
    },
    "c": {"model": "test_resnet"},
    "d": {"model": "vit", "pretrained": True, "kind": "frozen"},
}


@pytest.fixture
def metrics(finished):
    return read_json(finished("one fold").root / evaluate.OUT / "metrics.json", "evaluate")


def build(metrics, tables=(), answers=()) -> str:
    return build_card(metrics, answers, tables, SUMMARY, BACKBONES, {}, "data/my faces", "fit", 256)


def test_its_head_is_valid_and_holds_the_figures(metrics):
    card = ModelCard(build(metrics))
    (auc, *_) = card.data.eval_results
    assert auc.metric_type == "roc_auc"
    assert auc.metric_value == pytest.approx(metrics["val"]["stack"]["auc"], abs=1e-6)
    head = yaml.safe_load(build(metrics).split("---")[1])
    assert head["model-index"][0]["results"][0]["dataset"]["split"] == "val"


def test_its_limits_name_the_worst_source_of_reals_and_the_worst_generator(metrics):
    reals, fakes = (metrics["called_fake"][kind] for kind in ("reals", "fakes"))
    reals["sources"][0]["name"] = "an *old* phone"
    limits = build(metrics).partition("## Limits")[2]
    assert "the worst is an \\*old\\* phone: " in limits
    assert f"the worst is {fakes['generators'][0]['name']}: " in limits
    assert "Of reals from other sources val tells nothing." in limits


def test_it_says_what_it_was_made_of(metrics):
    text = build(metrics, list_tables(metrics), [Answer("How good?", "AUC 0.9", "good", ("r",))])
    assert "| train | 1,200 | 50 | 70 |" in text
    assert "| a | resnet18 | the whole, fitted into a square | 256 | timm's weights |" in text
    assert "| b | vit | crops of its own pixels | 224 | w.safetensors |" in text
    assert "from scratch" in text
    assert "| 256 | timm's weights, frozen: its head alone was learned |" in text
    metrics["frozen"] = {"d": 513}
    assert "frozen: a head of 513 parameters alone was learned" in build(metrics)
    assert "**How good?** AUC 0.9." in text
    assert f"{metrics['val']['stack']['auc']:.3f} \\[" in text
    assert "Limits" in text


def test_what_is_declared_of_detectors_from_outside_is_said(metrics):
    declared = {"kind": "probability", "learned_from": "unknown"}
    detectors = {"clip": OutsideScores(scores="/home/me/clip.csv", **declared)}
    text = build_card(metrics, [], [], SUMMARY, {}, detectors, "data", "square", 256)
    assert (
        "Tells real images from forged ones (1 = fake, 0 = real). 1 detector from outside" in text
    )
    assert "| clip | clip.csv | probability | unknown rows, of train maybe |" in text
    assert "it cannot be checked" in text
    assert "## Networks" not in text
    assert "from outside" not in build(metrics)
    both = build_card(metrics, [], [], SUMMARY, BACKBONES, detectors, "data", "fit", 256)
    assert f"{len(BACKBONES)} networks and 1 detector from outside, combined by" in both


def test_tables_are_tables_whatever_the_names(metrics):
    table = TextTable("t", (Column("a|b"), Column("c", "right")), (Row(("<img src=x>", "1|2\n3")),))
    text = build(metrics, [table])
    lines = [line for line in text.splitlines() if "img" in line or "a\\|b" in line]
    assert len(lines) == 2
    for line in lines:
        assert len(re.findall(r"(?<!\\)\|", line)) == 3
    assert not re.search(r"(?<!\\)<", text)
    assert "|---|---:|" in text


def test_without_val_there_are_no_results(metrics):
    text = build(draw_last(), answers=[Answer("How good?", "no held-out val", "open", ())])
    assert "model-index" not in text
    assert "no held-out val" in text


def draw_last(prior=0.3):
    found = {"prior": {"value": prior, "source": "given", "reason": "label.prior is 0.3"}}
    return {"val": None, "shipped": "mean", "out_of_fold": found}


def test_without_val_nothing_is_said_to_be_measured_on_it():
    text = build(draw_last())
    assert "figures are out of fold, on rows of train" in text
    assert "images drawn like train" in text
    assert "groups of train, not with the seeds" in text
    assert "never straddle folds." in text
    assert "Probabilities assume a share of fakes of 0.3." in text
    for words in ("figures are of val", "like val", "of val, not", "| val |", "tables above say"):
        assert words not in text


def test_with_val_its_figures_are_of_val(metrics):
    text = build(metrics)
    for words in ("figures are of val", "images drawn like val", "groups of val, not", "| val |"):
        assert words in text


def test_who_has_a_bundle_alone_is_told_how_to_use_it(metrics):
    use = build(metrics).partition("## How to use it")[2]
    bundle, _, project = use.partition("In the project's folder")
    assert (
        "forgerystack verify .\nforgerystack label PICTURES --bundle . -o ../labels.csv" in bundle
    )
    assert 'Ensemble.load(".")' in bundle
    assert "dvc" not in bundle
    assert "dvc repro label" in project
