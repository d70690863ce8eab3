"""A small project whose member is a frozen encoder: weights on the disk, manifests and pictures."""

from pathlib import Path

import pytest
import timm
import torch
from dump_task import make_project
from safetensors.torch import save_file

from features.settings.sections import load_params
from features.settings.training import TrainParams
from stage1_cnn.runtime.runs import RunLimits
from stage1_cnn.scoring.engines import TorchEngine
from stage1_cnn.train.run import run

BACKBONE = "net"
PARAMS = """
seed: 0
data: {root: data}
images: {size: 48, store: none, store_dir: store}
weights: {root: .}
sampling: {}
loss: {kind: focal}
optimizer: {}
schedule: {epochs: 1}
ema: {}
augment: {self_blend: 0.5}
network: {dropout: 0.3}
backbones:
  net: {kind: frozen, model: test_resnet, pretrained: resnet.safetensors, image_size: 32}
dump: {tta: none}
"""


def save_weights(path: Path, model: str = "test_resnet", seed: int = 0) -> None:
    torch.manual_seed(seed)
    save_file(timm.create_model(model).state_dict(), path)


def count_pictures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by how many pictures each batch shows a network from now on."""
    seen: list[int] = []
    real = TorchEngine.__call__

    def count(engine, pixels):
        seen.append(len(pixels))
        return real(engine, pixels)

    monkeypatch.setattr(TorchEngine, "__call__", count)
    return seen


def make_frozen_project(folder: Path) -> None:
    make_project(folder)
    save_weights(folder / "resnet.safetensors")
    (folder / "params.yaml").write_text(PARAMS)


def fit_member_of(fold: int = 0, *overrides: str, out: Path | None = None) -> Path:
    """Trains the member of the project in the current folder; where it lies."""
    folder = out or Path("artifacts/members") / BACKBONE / str(fold)
    params = load_params(TrainParams, overrides)
    run(params, BACKBONE, fold, folder, RunLimits(Path("resume")))
    return folder
