"""Which members are trained side by side, in which order, and on which devices."""

import logging
import os
from collections.abc import Mapping, Sequence

import torch

from features.core.files import read_json
from features.errors import ConfigError, MissingArtifactError, StaleArtifactError
from features.inputs.run import OUT as INPUTS
from features.inputs.run import WEIGHTS, look_at_inputs, note_weights
from features.inputs.settings import AllParams
from features.settings.sections import suggest_name
from features.settings.training import TrainParams
from stage1_cnn.networks.network import settle_network
from stage1_cnn.runtime.budget import count_parameters
from stage1_cnn.train.run import MANIFEST
from stage1_cnn.train_all.dvc_stages import commit, list_changes, restore
from stage1_cnn.train_all.process import Name

TRAIN = MANIFEST / "train.parquet"
_log = logging.getLogger("forgerystack")


def parse_devices(text: str, cards: int, source: str = "--devices") -> list[str]:
    """Devices by name, where there are so many `cards`. Raises `ConfigError` with all problems."""
    devices, problems = [], []
    for name in (part.strip() for part in text.split(",")):
        try:
            device = torch.device(name)
        except RuntimeError:
            problems.append(f"{name!r} is no device")
            continue
        if device.type == "cuda" and not cards:
            problems.append(f"{name}: there is no CUDA card")
        elif device.type == "cuda" and (device.index or 0) >= cards:
            problems.append(f"{name}: the cards are cuda:0 to cuda:{cards - 1}")
        devices.append(f"cuda:{device.index or 0}" if device.type == "cuda" else name)
    if problems:
        raise ConfigError(source, problems, "Such as cuda:0,cuda:1; twice: two at once on it.")
    return devices


def choose_devices(asked: str | None) -> list[str]:
    """Those of `asked`, of FORGERYSTACK_DEVICE, all CUDA cards, or the CPU."""
    cards = torch.cuda.device_count()
    variable = os.environ.get("FORGERYSTACK_DEVICE", "auto")
    if asked is not None:
        return parse_devices(asked, cards)
    if variable != "auto":
        return parse_devices(variable, cards, "FORGERYSTACK_DEVICE")
    if not cards:
        _log.info("no CUDA card is there: one after the other on the CPU")
    return [f"cuda:{index}" for index in range(cards)] or ["cpu"]


def choose_members(params: AllParams, backbones: Sequence[str] | None) -> list[Name]:
    """All members of `params.yaml`, or those of some `backbones`, in its order."""
    known = list(params.backbones)
    unknown = [name for name in backbones or () if name not in known]
    if unknown:
        problems = [f"{name!r}: unknown{suggest_name(name, known)}" for name in unknown]
        raise ConfigError("--backbone", problems)
    wanted = [name for name in known if not backbones or name in backbones]
    return [Name(backbone, fold) for backbone in wanted for fold in params.folds.active]


def sort_by_work(params: TrainParams, names: Sequence[Name]) -> list[Name]:
    """The most work first, so that no device is left alone with it: by parameters × pixels,
    times the trainings of a soup.

    Raises `ConfigError` for a network that cannot be built.
    """
    work = {}
    for backbone in {name.backbone: None for name in names}:
        settings = settle_network(params.resolve_backbone(backbone))
        pixels = settings.image_size**2 * settings.schedule.soup
        work[backbone] = count_parameters(settings).stored * pixels
    return sorted(names, key=lambda name: -work[name.backbone])


def check_manifest(params: AllParams, changes: Mapping[str, Sequence[str]]) -> None:
    """Raises `MissingArtifactError` or `StaleArtifactError` where `prepare` would run.

    `changes`: by stage what DVC finds changed; the lists of images are looked at as `inputs` does.
    """
    if not TRAIN.is_file():
        raise MissingArtifactError(TRAIN, "prepare")
    changed = {name for stage, found in changes.items() if "@" not in stage for name in found}
    if look_at_inputs(params) != read_json(INPUTS, "prepare"):
        changed.add("list of images (or folder, or review)")
    if changed:
        found = ", ".join(sorted(changed))
        raise StaleArtifactError(TRAIN, "what was there before", f"another {found}", "prepare")


def find_waiting(params: AllParams, names: Sequence[Name]) -> list[Name]:
    """Those that are to be trained; what DVC has in its cache is laid out instead."""
    if TRAIN.is_file() and note_weights(params, INPUTS.with_name(WEIGHTS)):
        commit("inputs")  # it always runs, but nobody runs it here
    changes = list_changes([name.stage for name in names])
    check_manifest(params, changes)
    waiting = sort_by_work(params, [name for name in names if name.stage in changes])
    if waiting:
        restore([name.stage for name in waiting])
        left = list_changes([name.stage for name in waiting])
        if found := [str(name) for name in waiting if name.stage not in left]:
            _log.info("restored from DVC's cache: %s", ", ".join(found))
        waiting = [name for name in waiting if name.stage in left]
    return waiting
