"""timm networks with two outputs: built, loaded, and asked for embeddings and log-odds.

network = build_network(settle_network(settings)).eval()
embeddings, log_odds = embed(network, images)
"""

import warnings
from typing import Any

import timm
import torch
from torch import Tensor, nn

from features.errors import ConfigError
from features.settings.training import MemberSettings
from stage1_cnn.networks.cosine_head import set_cosine_head
from stage1_cnn.networks.frozen_network import freeze_network
from stage1_cnn.networks.graph_encoder import GraphEncoder, load_encoder, settle_graph
from stage1_cnn.networks.model_names import resolve_model_name
from stage1_cnn.networks.pretrained import create_pretrained

CHANNELS = {"rgb": 3, "srm": 3, "rgb+srm": 6}
# timm's names for the settings that not every network takes.
_OPTIONAL = {"drop_path_rate": "drop_path", "drop_rate": "dropout"}


def build_network(settings: MemberSettings, load: bool = True) -> nn.Module:
    """The backbone with a two-class head; with its pretrained weights unless `load` is off.

    Of a frozen one the head is still to be fitted, and says nothing.

    Where `network.input` asks for six channels, timm repeats and rescales the pretrained weights
    of the first layer. Raises `ConfigError` for a network that timm does not know, or that cannot
    be built with these settings; `WeightsError`.
    """
    if settings.graph is not None:
        encoder = load_encoder(settings) if load else GraphEncoder(settings.graph)
        return freeze_network(encoder, settings)
    network = _create_network(settings, load)
    if settings.kind == "frozen":
        return freeze_network(network, settings)
    if settings.network.head == "cosine":
        set_cosine_head(network, settings.model)
    return network


def _create_network(settings: MemberSettings, load: bool) -> nn.Module:
    settings = settings.model_copy(update={"model": resolve_model_name(settings.model)})
    arguments = _find_arguments(settings)
    try:
        if load and settings.pretrained is not False:
            return create_pretrained(settings, arguments)
        return timm.create_model(settings.model, pretrained=False, **arguments)
    except TypeError as error:
        refused = [name for name in _OPTIONAL if name in arguments and name in str(error)]
        if not refused:
            raise
        setting = _OPTIONAL[refused[0]]
        problem = f"network.{setting}: {settings.model} does not take it; set it to 0"
        raise ConfigError("backbones", [problem]) from error


# By all that the shapes depend on.
_on_meta: dict[tuple[object, ...], nn.Module] = {}


def build_on_meta(settings: MemberSettings) -> nn.Module:
    """The network with shapes and no values, in evaluation mode; one object for all that are alike.

    It takes no memory and no random numbers. Raises `ConfigError` as `build_network`.
    """
    frozen = (settings.kind, settings.pooling, settings.layer, settings.width)
    key = (settings.model, settings.image_size, settings.network, *frozen)
    if key not in _on_meta:
        with torch.device("meta"):
            _on_meta[key] = build_network(settings, load=False).eval()
    return _on_meta[key]


def _find_arguments(settings: MemberSettings) -> dict[str, Any]:
    classes = 0 if settings.kind == "frozen" else 2
    arguments: dict[str, Any] = {
        "num_classes": classes,
        "in_chans": CHANNELS[settings.network.input],
    }
    config = timm.get_pretrained_cfg(settings.model)
    if config is not None and config.fixed_input_size:
        arguments["img_size"] = settings.image_size
    for name, setting in _OPTIONAL.items():
        if rate := getattr(settings.network, setting):
            arguments[name] = rate
    return arguments


def settle_network(settings: MemberSettings) -> MemberSettings:
    """`settings` with the name that timm has for the network today, and with the side that timm
    names for it where `own_size` asks for that; of an ONNX file with what its graph says.

    Raises `ConfigError` for a network that timm does not know, and where the images are kept
    smaller than that side, or as `settle_graph`.
    """
    if settings.graph is not None:
        return settle_graph(settings)
    settings = settings.model_copy(update={"model": resolve_model_name(settings.model)})
    if not settings.own_size:
        return settings
    config = timm.get_pretrained_cfg(settings.model)
    side = config.input_size[-1] if config is not None else settings.image_size
    if side > settings.image_size and settings.images.mode != "crop":
        problem = f"image_size own: {settings.model} sees {side} pixels, and images.size is "
        raise ConfigError("backbones", [f"{problem}{settings.image_size}"])
    return settings.model_copy(update={"image_size": side, "own_size": False})


def check_image_size(settings: MemberSettings) -> None:
    """Raises `ConfigError` where the network cannot see pictures of `image_size`.

    Transformers want a multiple of their patch or window.
    """
    if problem := _find_size_problem(settings, settings.image_size):
        advice = "image_size own takes the side that the network was made for"
        raise ConfigError("backbones", [problem], advice)


def check_other_size(settings: MemberSettings, side: int) -> None:
    """Raises `ConfigError` where a network trained at `image_size` cannot see `side` pixels."""
    if problem := _find_size_problem(settings, side):
        raise ConfigError("dump", [problem], "dump.image_size null: that of the training")


def _find_size_problem(settings: MemberSettings, side: int) -> str:
    """Sends one picture without values through a network without values, on torch's meta device:
    no weights are read. A graph sees what it was settled for.
    """
    if settings.graph is not None:
        seen = f"{settings.model} was settled for {settings.image_size} pixels"
        return "" if side == settings.image_size else f"image_size {side}: {seen}"
    try:
        with torch.device("meta"), torch.inference_mode():
            if side == settings.image_size:
                network = build_on_meta(settings)
            else:  # one of its own, because it changes its size for good
                network = build_network(settings, load=False).eval()
                fit_image_size(network, settings, side)
            embed(network, torch.empty(1, CHANNELS[settings.network.input], side, side))
    except NotImplementedError:
        return ""  # an operation that the meta device lacks: training will tell
    except (AssertionError, RuntimeError, ValueError) as error:
        return f"image_size {side}: {settings.model} cannot see it ({error})"
    return ""


def fit_image_size(network: Any, settings: MemberSettings, side: int) -> None:
    """Lets a network that was built for `image_size` see `side` pixels; its weights are there.

    Those whose weights belong to places in the picture have them interpolated, by timm. Raises
    `ValueError` for a network that cannot.
    """
    if side == settings.image_size:
        return
    config = timm.get_pretrained_cfg(settings.model)
    if config is None or not config.fixed_input_size:
        return
    network = network.encoder if settings.kind == "frozen" else network
    if not hasattr(network, "set_input_size"):
        raise ValueError(f"it was trained for {settings.image_size} and is of that size for good")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # timm's interpolation, about itself
        network.set_input_size(img_size=(side, side))


def find_head(network: Any) -> nn.Module:
    """What turns the embedding into logits."""
    head = network.get_classifier()
    return nn.ModuleList(head) if isinstance(head, tuple) else head


def get_normalisation(network: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of RGB in 0 … 1, from the network's own config."""
    config = timm.data.resolve_model_data_config(network)
    return tuple(config["mean"]), tuple(config["std"])


def embed(
    network: Any, images: Tensor, precision: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Embeddings `(b, d)` (what the head's last layer sees) and log-odds of fake `(b,)`, float32.

    `precision` is that of all below the head.
    """
    features = extract_features(network, images, precision)
    # The head runs twice: about 1 % of the time at most, and right for two classifiers too.
    embeddings = network.forward_head(features, pre_logits=True)
    logits = network.forward_head(features)
    return embeddings, logits[:, 1] - logits[:, 0]


def extract_features(network: Any, images: Tensor, precision: torch.dtype) -> Any:
    """What the head takes, float32; computed in `precision`. A few networks have several."""
    if precision == torch.float32:
        return network.forward_features(images)
    with torch.autocast(images.device.type, precision):
        features = network.forward_features(images)
    if isinstance(features, list | tuple):
        return [branch.float() for branch in features]
    return features.float()


class Classifier(nn.Module):
    """What learns: images to logits `(b, 2)`, float32, and with `embeds` the embeddings `(b, d)`
    that the last layer has seen, else `None`. The head computes in float32, as it does wherever
    the network is asked later.
    """

    def __init__(self, network: nn.Module, precision: torch.dtype, embeds: bool = False) -> None:
        super().__init__()
        self.network, self.precision, self.embeds = network, precision, embeds

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        network: Any = self.network
        features = extract_features(network, images, self.precision)
        if not self.embeds:
            return network.forward_head(features), None
        embeddings = network.forward_head(features, pre_logits=True)
        return network.get_classifier()(embeddings), embeddings
