"""A finished project of two small networks, and the bundle of it: made once for all tests."""

from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import yaml

from features.demo.__main__ import main as make_demo
from features.forensics.__main__ import main as measure_forensics
from features.inputs.__main__ import main as check_inputs
from features.prepare.__main__ import main as prepare
from serving.bundle.__main__ import main as bundle
from stage1_cnn.dump.__main__ import main as dump
from stage1_cnn.train.__main__ import main as train
from stage2_ensemble.label.__main__ import main as label
from stage2_ensemble.stack.__main__ import main as stack

PRESET = Path(__file__).parents[2] / "presets" / "tiny.yaml"
BACKBONES = {
    "small": {"model": "test_resnet", "image_size": 32},
    "noise": {"model": "test_resnet", "network": {"input": "srm"}},
}
"""One sees resized pixels and is asked about views, the other sees noise."""


def read_preset() -> dict[str, Any]:
    """The settings of tests."""
    return yaml.safe_load(PRESET.read_text(encoding="utf-8"))


def make_project(folder: Path) -> Path:
    """Runs all stages up to labels in `folder`, which is made."""
    params = read_preset()
    params["backbones"] = BACKBONES
    params["dump"] = {"tta": "none", "backbones": {"small": {"tta": "six"}}}
    params["stack"]["candidates"] = []
    return run_stages(folder, params)


def run_stages(
    folder: Path, params: dict[str, Any], change: Callable[[Path], None] | None = None
) -> Path:
    """The same with any settings; `change` may alter the data before they are looked at."""
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    with chdir(folder):
        make_demo()
        if change:
            change(folder / "data/demo")
        for stage in (check_inputs, prepare, measure_forensics):
            stage()
        for backbone in params["backbones"]:
            for fold in params["folds"]["active"]:
                train(backbone, fold)
                dump(backbone, fold)
        stack()
        label()
    return folder


def make_bundle(project: Path, out: Path, samples: int = 4, neighbours: int = 0) -> Path:
    """The bundle of a project."""
    with chdir(project):
        bundle(out, samples, neighbours)
    return out
