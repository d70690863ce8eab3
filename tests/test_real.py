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


def test_the_preset_for_own_pictures_on_real_ones(tmp_path):
    project = copy_project(tmp_path / "faces", "own")
    params = project.read_params()
    params["data"]["root"], params["weights"]["root"] = str(FACES), str(WEIGHTS)
    for role in ("train", "val"):
        params["data"][role] = {"labels": f"{role}set_label.txt", "images": f"{role}set"}
    for backbone in params["backbones"].values():
        backbone["image_size"] = 96
    params["images"]["size"] = 96
    params["schedule"] = {"epochs": 4, "warmup_epochs": 0.5, "batch_size": 16}
    params["perturb"] |= {"rows": 40, "jpeg": [75], "blur": [0.01], "noise": [], "rescale": [0.5]}
    params["stack"] |= {"inner_folds": 3, "repeats": 1, "bags": 1, "max_rounds": 50}
    params["report"] = {"rows": 24}
    project.write_params(params)
    ran = project.repro()
    assert "train@noise-0" in ran
    metrics = project.read_metrics()
    assert metrics["rows"]["val"] == {"reals": 150, "fakes": 50}
    assert set(metrics["val"]["members"]) == {"picture-0", "noise-0"}
    assert metrics["val"]["mean"]["auc"] > 0.6
    assert pd.read_csv(project.folder / "artifacts/labels.csv").empty
    assert project.repro() == ["inputs"]
