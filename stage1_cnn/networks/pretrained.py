"""Pretrained weights: from a file, a folder, or the hub, where it can be reached."""

import logging
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from threading import Thread
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
import torch
from huggingface_hub import constants, try_to_load_from_cache
from safetensors import SafetensorError
from torch import nn

from features.core.files import digest_file
from features.errors import PipelineError
from features.inputs.weights import name_weights_file
from features.settings.training import MemberSettings, is_hub_name
from stage1_cnn.networks.model_names import resolve_model_name

# Seconds that a host has to answer. huggingface_hub alone tries for 46 s without a network.
PATIENCE = 1.0
# A file that lacks more of a network's tensors than this share is that of another network. Some
# of timm's own lack a few.
MOST_MISSING = 0.1
_LOAD_ERRORS = (OSError, RuntimeError, ValueError, KeyError, SafetensorError, UnpicklingError)


class WeightsError(PipelineError):
    """Pretrained weights cannot be had."""

    def __init__(self, settings: MemberSettings, reason: object) -> None:
        lines = str(reason).splitlines()
        put = f"put {settings.model}.safetensors into weights.root, or "
        super().__init__(
            f"pretrained weights of {settings.model} ({settings.pretrained}) cannot be loaded: "
            f"{lines[0] if lines else type(reason).__name__}. Without a network, "
            f"{put if settings.pretrained is True else ''}name a file: backbones.NAME.pretrained"
        )


def create_pretrained(settings: MemberSettings, arguments: dict[str, Any]) -> nn.Module:
    """The network of `settings` with its pretrained weights; `arguments` as of `create_model`.

    A linear head that they do not bring begins at zero, so that nothing but the rows says what
    features mean (Kolesnikov et al., "Big Transfer", ECCV 2020). As timm draws it, that of an
    EfficientNet with two classes begins at a loss of 2 to 3, and features are bent to its chance.

    Raises `WeightsError` where the weights are not there or are those of another network.
    """
    source = locate_weights(settings)
    with _collect_missing() as missing:
        try:
            network = timm.create_model(
                settings.model, pretrained=True, pretrained_cfg_overlay=source, **arguments
            )
        except _LOAD_ERRORS as error:
            raise WeightsError(settings, error) from error
    heads = _find_heads(network)
    _check_missing(settings, network, missing, tuple(f"{name}." for name in heads))
    # timm takes none for another number of classes; some files of its own it reads without a word.
    known: Any = network.pretrained_cfg
    is_new = known["num_classes"] != arguments["num_classes"]
    for name, head in heads.items():
        if is_new or f"{name}.weight" in missing:
            for parameter in head.parameters():
                nn.init.zeros_(parameter)
    return network


def locate_weights(settings: MemberSettings) -> dict[str, Any]:
    """Where timm takes the weights from, in the words of its `pretrained_cfg`.

    A file `<model>.safetensors` in `weights.root` comes before timm's own. What is in the hub's
    cache is taken as it is, without asking the hub for a newer version. Raises `WeightsError` for a
    file that is not there, and for a host that does not answer.
    """
    place = settings.pretrained
    if is_hub_name(place):
        return _locate_on_hub(settings, str(place).partition(":")[2])
    path = _name_file(settings)
    if path is not None and path.is_file():
        # The original ViT weights are numpy archives, which timm converts by the network's method.
        return {"file": str(path), "custom_load": path.suffix == ".npz"}
    if place is not True:
        raise WeightsError(settings, f"there is no file {path}")
    config: Any = timm.get_pretrained_cfg(settings.model)
    if config is not None and config.hf_hub_id:
        return _locate_on_hub(settings, config.hf_hub_id)
    if config is not None and config.url:
        _check_download(settings, config.url)
    return {}


def digest_own_file(settings: MemberSettings) -> str | None:
    """sha256 of the file below `weights.root` that pretrained weights, or a graph, are read from.

    `None` where they come from elsewhere, or there is no such file.
    """
    path = _name_file(settings)
    return None if path is None or not path.is_file() else digest_file(path)


def _name_file(settings: MemberSettings) -> Path | None:
    model = settings.model if settings.graph else resolve_model_name(settings.model)
    return name_weights_file(settings, model)


def _locate_on_hub(settings: MemberSettings, name: str) -> dict[str, Any]:
    config: Any = timm.get_pretrained_cfg(settings.model)
    repository, _, revision = name.partition("@")
    named = config.hf_hub_filename if config is not None else None
    file = named or "pytorch_model.bin"
    for candidate in (file.replace("pytorch_model.bin", "model.safetensors"), file):
        path = try_to_load_from_cache(repository, candidate, revision=revision or None)
        if isinstance(path, str):
            return {"file": path, "custom_load": bool(named) and config.custom_load == "hf"}
    if constants.HF_HUB_OFFLINE:
        reason = f"HF_HUB_OFFLINE is set, and {name} is not in {constants.HF_HUB_CACHE}"
        raise WeightsError(settings, reason)
    _check_host(settings, constants.ENDPOINT)
    return {"hf_hub_id": name}


def _check_download(settings: MemberSettings, url: str) -> None:
    cached = Path(torch.hub.get_dir(), "checkpoints", Path(urlsplit(url).path).name)
    if not cached.is_file():
        _check_host(settings, url)


def _check_host(settings: MemberSettings, url: str) -> None:
    """Raises `WeightsError` unless the host answers, or a proxy answers for it."""
    if {"http", "https", "all"} & getproxies().keys():  # `no_proxy` is among them too
        return
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443))
    reasons: list[object] = [f"no answer within {PATIENCE:g} s"]

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=PATIENCE).close()
            reasons.clear()
        except OSError as error:
            reasons[0] = error

    # In a thread, because looking up a name has no time limit of its own.
    thread = Thread(target=connect, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if reasons:
        raise WeightsError(settings, f"{address[0]} cannot be reached ({reasons[0]})")


@contextmanager
def _collect_missing() -> Iterator[list[str]]:
    """Names of the tensors that timm did not find in the weights.

    With another number of classes timm loads whatever fits and only logs what is missing, so a file
    with quite other names would leave the network as it was drawn.
    """
    missing: list[str] = []
    logger = logging.getLogger("timm.models._builder")
    level, disabled = logger.level, logger.manager.disable
    shown = max(logger.getEffectiveLevel(), disabled + 1)

    def listen(record: logging.LogRecord) -> bool:
        if found := re.match(r"Missing keys \((.*)\) discovered", record.getMessage()):
            missing.extend(found[1].split(", "))
        return record.levelno >= shown

    logger.addFilter(listen)
    logger.setLevel(logging.INFO)
    logging.disable(logging.NOTSET)  # whoever silenced all would silence this, too
    try:
        yield missing
    finally:
        logging.disable(disabled)
        logger.removeFilter(listen)
        logger.setLevel(level)


def _find_heads(network: Any) -> dict[str, nn.Module]:
    """What turns embeddings into logits, by name: one layer, or two where one was distilled."""
    heads = network.get_classifier()
    heads = heads if isinstance(heads, tuple) else (heads,)
    named = network.named_modules()
    return {name: module for name, module in named if any(module is head for head in heads)}


def _check_missing(
    settings: MemberSettings, network: nn.Module, missing: list[str], own: tuple[str, ...]
) -> None:
    lost = [name for name in missing if not name.startswith(own)]
    if len(lost) > MOST_MISSING * len(network.state_dict()):
        reason = f"they lack {len(lost)} of the network's tensors, such as {lost[0]}"
        raise WeightsError(settings, reason)
