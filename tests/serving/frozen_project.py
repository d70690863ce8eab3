"""A finished project of two frozen encoders, two folds each.

One is a network of timm, which sees crops and is asked about views; the other a graph that
takes pictures one by one, so that no graph of a bundle can hold it.
"""

from pathlib import Path

from frozen_task import save_weights
from graph_files import write_graph
from tiny_project import read_preset, run_stages

BACKBONES = {
    "tower": {
        "kind": "frozen",
        "model": "test_resnet",
        "pretrained": "tower.safetensors",
        "image_size": 32,
        "images": {"mode": "crop"},
    },
    "quarters": {
        "kind": "frozen",
        "model": "quarters.onnx",
        "image_size": "own",
        "graph": {"output": "embeds"},
    },
}
FOLDS = (0, 1)


def write_encoders(data: Path) -> None:
    """Beside the folder of all data."""
    folder = data.parents[1]
    save_weights(folder / "tower.safetensors")
    write_graph(folder / "quarters.onnx", quantised=True)


def make_frozen_project(folder: Path) -> Path:
    """Runs all stages up to labels in `folder`, which is made."""
    params = read_preset()
    params["demo"] |= {"train": 72, "val": 24, "test": 12}
    params["folds"]["active"] = list(FOLDS)
    params["backbones"] = BACKBONES
    params["dump"] = {"tta": "none", "crops": 2, "backbones": {"tower": {"tta": "hflip"}}}
    params["stack"]["candidates"] = []
    params["gate"]["ship"] = "mean"
    return run_stages(folder, params, write_encoders)
