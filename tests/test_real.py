"""The pipeline on real photographs and real weights, small, where they are at hand."""

from pathlib import Path

import pandas as pd
import pytest
from project_copy import copy_project

SHARED = Path(__file__).parents[2] / "shared"
FACES, WEIGHTS = SHARED / "data" / "faces", SHARED / "weights"

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (FACES.is_dir() and WEIGHTS.is_dir()),
        reason="needs ../shared/data and ../shared/weights",
    ),
]


def test_faces_preset_small(tmp_path):
    project = copy_project(tmp_path / "faces", "faces")
    params = project.read_params()
    params["data"]["root"], params["weights"]["root"] = str(FACES), str(WEIGHTS)
    params["backbones"] = {"lite0": {**params["backbones"]["lite0"], "image_size": 96}}
    params["images"]["size"] = 96
    params["schedule"] = {"epochs": 4, "warmup_epochs": 0.5, "batch_size": 16}
    params["perturb"] |= {"rows": 40, "jpeg": [75], "blur": [0.01], "noise": [], "rescale": [0.5]}
    params["stack"] |= {"inner_folds": 3, "repeats": 1, "bags": 1, "max_rounds": 50}
    params["report"] = {"rows": 24}
    project.write_params(params)
    ran = project.repro()
    assert "train@lite0-1" in ran
    metrics = project.read_metrics()
    assert metrics["rows"]["val"] == {"reals": 150, "fakes": 50}
    assert set(metrics["val"]["members"]) == {"lite0-0", "lite0-1"}
    assert metrics["val"]["mean"]["auc"] > 0.6
    assert pd.read_csv(project.folder / "artifacts/labels.csv").empty
    assert project.repro() == ["inputs"]
