"""A finished project of two frozen encoders, which five backbones of two folds read.

`tower` is a network of timm, which sees crops and is asked about views; `inner` reads another layer
of it, and has its weights by another name; `again` reads the same, and weighs rows otherwise.
`quarters` is a graph that takes pictures one by one, so that no graph of a bundle can hold it;
`places` reads another output.
"""

import shutil
from pathlib import Path

from frozen_task import save_weights
from graph_files import write_graph
from tiny_project import read_preset, run_stages

TOWER = {
    "kind": "frozen",
    "model": "test_resnet",
    "pretrained": "tower.safetensors",
    "image_size": 32,
    "images": {"mode": "crop"},
}
QUARTERS = {"kind": "frozen", "model": "quarters.onnx", "image_size": "own"}
BACKBONES = {
    "tower": TOWER,
    "quarters": QUARTERS | {"graph": {"output": "embeds"}},
    "inner": TOWER | {"pretrained": "copy.safetensors", "layer": 1},
    "again": TOWER | {"sampling": {"mode": "natural"}},
    "places": QUARTERS | {"graph": {"output": "maps"}, "pooling": "mean"},
}
VIEWS = {"tta": "hflip"}
FOLDS = (0, 1)


def write_encoders(data: Path) -> None:
    """Beside the folder of all data."""
    folder = data.parents[1]
    save_weights(folder / "tower.safetensors")
    shutil.copy(folder / "tower.safetensors", folder / "copy.safetensors")
    write_graph(folder / "quarters.onnx", quantised=True)


def make_frozen_project(folder: Path) -> Path:
    """Runs all stages up to labels in `folder`, which is made."""
    params = read_preset()
    params["demo"] |= {"train": 72, "val": 24, "test": 12}
    params["folds"]["active"] = list(FOLDS)
    params["backbones"] = BACKBONES
    views = dict.fromkeys(["tower", "inner", "again"], VIEWS)
    params["dump"] = {"tta": "none", "crops": 2, "backbones": views}
    params["stack"]["candidates"] = []
    params["gate"]["ship"] = "mean"
    return run_stages(folder, params, write_encoders)
