"""The stage `outside`: tables of scores checked against the manifests, all problems at once."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_data import make_rows
from scipy.special import logit

from features.artifacts.outside import read_outside, read_summary
from features.core.manifest import Manifest, write_manifest
from features.errors import ManifestError, StaleArtifactError
from features.outside import run as outside
from features.prepare.run import finish_role
from features.settings.members import MembersParams
from features.settings.sections import validate_params

COUNTS = {"train": 60, "val": 20, "test": 6}


@pytest.fixture
def manifests(tmp_path, monkeypatch) -> dict[str, Manifest]:
    monkeypatch.chdir(tmp_path)
    made = {}
    for role, count in COUNTS.items():
        labels = [-1] * count if role == "test" else [i % 2 for i in range(count)]
        fold = np.arange(count) // 2 % 2 if role == "train" else -1
        domain = "seen" if role == "val" else ""
        rows = make_rows(labels, role, fold=fold, group=range(count), domain=domain)
        made[role] = write_manifest(finish_role(rows), role, outside.MANIFEST / f"{role}.parquet")
    return made


def write_scores(manifests: dict[str, Manifest], file: str = "clip.csv", **changed: str) -> None:
    """0.9 for fakes, 0.2 for all else; `changed`: cells by name, `None` for no line."""
    lines = ["img_name,score"]
    for manifest in manifests.values():
        for name, label in zip(manifest.table["img_name"], manifest.labels, strict=True):
            cell = changed.get(name.removesuffix(".png"), "0.9" if label == 1 else "0.2")
            lines += [] if cell is None else [f"{name},{cell}"]
    Path(file).write_text("\n".join(lines) + "\n")


def run(**detectors: dict[str, Any]) -> None:
    entries = {
        name: {"scores": "clip.csv", "kind": "probability", "learned_from": "none", **values}
        for name, values in (detectors or {"clip": {}}).items()
    }
    values = {"folds": {"active": [0]}, "backbones": {}, "outside": entries}
    outside.run(validate_params(MembersParams, values, "test"))


def test_probabilities_become_log_odds_of_each_role(manifests):
    write_scores(manifests, train0=None, val3="", test1="0.75")
    run()
    found = {r: read_outside(outside.OUT / "clip", m) for r, m in manifests.items()}
    wanted = np.where(manifests["train"].labels == 1, logit(0.9), logit(0.2))
    wanted[0] = np.nan
    np.testing.assert_array_equal(found["train"].logits, wanted)
    assert np.flatnonzero(np.isnan(found["val"].logits)).tolist() == [3]
    assert found["test"].logits[1] == logit(0.75)
    assert read_summary(outside.OUT)["clip"]["scored"] == {"train": 59, "val": 19, "test": 6}


def test_a_row_is_said_the_same_in_every_fold(manifests):
    write_scores(manifests)
    run()
    scores = read_outside(outside.OUT / "clip", manifests["train"])
    for fold in (0, 1):
        dump = scores.build_dump(manifests["train"], fold)
        np.testing.assert_array_equal(dump.row_ids, manifests["train"].rows_to_dump(fold))
        np.testing.assert_array_equal(dump.corrected_logits, scores.logits[dump.row_ids])


def test_probabilities_of_0_and_1_are_kept_within_bounds_and_counted(manifests, caplog):
    caplog.set_level(logging.INFO)
    write_scores(manifests, train0="0", train1="1", val1="0.99999999", val2="1e-7")
    run()
    logits = read_outside(outside.OUT / "clip", manifests["train"]).logits
    np.testing.assert_allclose(logits[:2], [logit(1e-7), logit(1 - 1e-7)])
    assert read_summary(outside.OUT)["clip"]["clipped"] == 3
    assert "outside clip: probabilities kept within 1e-07 of 0 and 1: 3" in caplog.text


@pytest.mark.fault(
    "scores from outside that are no probabilities, of unknown pictures, or given twice",
    "error with every problem of every table, by line",
    "Settings and surroundings",
)
def test_problems_of_all_tables_are_told_at_once(manifests):
    write_scores(manifests, train0="1.5", train1="x")
    Path("other.csv").write_text("img_name,score\nfoo.png,0.5\n")
    with pytest.raises(ManifestError) as caught:
        run(clip={}, other={"scores": "other.csv"}, third={"scores": "none.csv"})
    assert caught.value.problems == [
        "clip, clip.csv: line 2: score 1.5 is no probability, which outside.clip.kind says",
        "clip, clip.csv: line 3: 'x' is no number",
        "other, other.csv: none of its 1 names is a row, such as 'foo.png'",
        "third, none.csv: there is no such file",
    ]
    assert not outside.OUT.exists()


def test_folds_and_val_need_scores_of_both_classes(manifests):
    train = {f"train{i}": None for i in range(1, 60, 4)}  # the fakes of fold 0
    write_scores(manifests, **train, **{f"val{i}": "" for i in range(1, 20, 2)})
    with pytest.raises(ManifestError) as caught:
        run()
    assert caught.value.problems == [
        "clip, clip.csv: fold 0 of train: scores of 0 fakes, fewer than 10",
        "clip, clip.csv: val: scores of 0 fakes, fewer than 1",
    ]


def test_scores_of_real_are_suspected(manifests, caplog):
    write_scores(manifests)
    text = Path("clip.csv").read_text()
    Path("clip.csv").write_text(text.replace("0.9", "0.1"))
    run()
    assert "higher scores go to reals. Are they scores of real?" in caplog.text


def test_logits_that_look_like_probabilities_are_suspected(manifests, caplog):
    write_scores(manifests)
    run(clip={"kind": "logit"})
    assert "all logits lie in 0 … 1. Are they probabilities?" in caplog.text
    assert read_outside(outside.OUT / "clip", manifests["val"]).logits[1] == 0.9


def test_another_manifest_makes_the_scores_stale(manifests):
    write_scores(manifests)
    run()
    val = manifests["val"]
    table = val.table.assign(weight=2.0)
    changed = write_manifest(table, "val", outside.MANIFEST / "val.parquet")
    with pytest.raises(StaleArtifactError, match="outside"):
        read_outside(outside.OUT / "clip", changed)


def test_a_detector_that_was_taken_out_leaves_nothing(manifests):
    write_scores(manifests)
    run(clip={}, other={})
    run(clip={})
    assert sorted(p.name for p in outside.OUT.iterdir()) == ["clip", "outside.json"]


def test_other_scores_of_test_are_the_same_detector(manifests):
    digests = set()
    for cell in ("0.3", "0.4"):
        write_scores(manifests, test0=cell)
        run()
        digests |= {read_outside(outside.OUT / "clip", m).digest for m in manifests.values()}
    assert len(digests) == 1
    write_scores(manifests, train0="0.3")
    run()
    assert read_outside(outside.OUT / "clip", manifests["test"]).digest not in digests
