"""A finished project of two small networks, and the bundle of it: made once for all tests."""

from contextlib import chdir
from pathlib import Path

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


def make_project(folder: Path) -> Path:
    """Runs all stages up to labels in `folder`, which is made."""
    folder.mkdir(parents=True)
    params = yaml.safe_load(PRESET.read_text(encoding="utf-8"))
    params["backbones"] = BACKBONES
    params["dump"] = {"tta": "none", "backbones": {"small": {"tta": "six"}}}
    params["stack"]["candidates"] = []
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    with chdir(folder):
        for stage in (make_demo, check_inputs, prepare, measure_forensics):
            stage()
        for backbone in BACKBONES:
            train(backbone)
            dump(backbone)
        stack()
        label()
    return folder


def make_bundle(project: Path, out: Path, samples: int = 4, neighbours: int = 0) -> Path:
    """The bundle of a project."""
    with chdir(project):
        bundle(out, samples, neighbours)
    return out
