"""`metrics.json` has one form, which runs keep, readers rely on and the guide explains."""

import json
import re
from pathlib import Path

import pytest

from features.core.files import read_json
from features.errors import IntegrityError
from stage2_ensemble.evaluate import run as evaluate
from stage2_ensemble.models.candidates import CANDIDATES
from stage2_ensemble.results.form import FinalMetrics, ValMetrics
from stage2_ensemble.results.metrics_file import check_metrics, read_metrics, write_metrics
from stage2_ensemble.results.scores import COMBINERS

GUIDE = Path(__file__).parents[3] / "docs/guide/figures.md"


@pytest.mark.parametrize("world", ["one fold", "new generators", "units"])
def test_what_a_run_writes_is_read_as_it_is(finished, world):
    path = finished(world).root / evaluate.OUT / "metrics.json"
    assert read_metrics(path) == read_json(path, "evaluate")


@pytest.mark.parametrize(
    ("break_it", "field"),
    [
        (lambda m: m["val"]["mean"].pop("auc"), "val.mean.auc: Field required"),
        (lambda m: m["val"]["stack"].update(auc="0.9"), "val.stack.auc: Input should be a valid"),
        (lambda m: m["threshold"].update(reed=1.0), "threshold.reed: Extra inputs"),
        (lambda m: m["val"].update(greedi=m["val"]["mean"]), "val.greedi: Extra inputs"),
        (lambda m: m.pop("promises"), "promises: Field required"),
        (lambda m: m.update(val=None), "val"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_written(finished, tmp_path, break_it, field):
    metrics = read_json(finished("one fold").root / evaluate.OUT / "metrics.json", "evaluate")
    break_it(metrics)
    path = tmp_path / "metrics.json"
    with pytest.raises(IntegrityError, match=f"^{re.escape(str(path))} is damaged: ") as error:
        write_metrics(path, metrics)
    assert not path.exists()
    assert field in str(error.value)
    assert "dvc repro -f evaluate" in str(error.value)
    path.write_text(json.dumps(metrics))
    with pytest.raises(IntegrityError):
        read_metrics(path)


@pytest.mark.parametrize("values", [[], "metrics", 3, {}])
def test_what_is_no_metrics_at_all_is_refused(values):
    with pytest.raises(IntegrityError):
        check_metrics(values, Path("metrics.json"))


def test_every_candidate_has_an_entry():
    assert COMBINERS == CANDIDATES


def test_the_guide_explains_every_entry_and_no_other():
    (table,) = re.findall(r"\| entry \|.*?\n\n", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    told = re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
    assert sorted(told) == sorted({*ValMetrics.__annotations__, *FinalMetrics.__annotations__})
