"""Settings of one member: global sections, and what a backbone overrides of them."""

import math
import re
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, model_validator

from features.errors import ConfigError
from features.settings.images import DataRoot, Geometry, TrainedImages
from features.settings.learning import (
    LOSS_KINDS,
    Augment,
    Ema,
    Loss,
    Network,
    Optimizer,
    Sampling,
    Schedule,
)
from features.settings.sections import Place, Section, Seed, StageParams, suggest_name

BackboneName = Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]


class Weights(Section):
    """Where pretrained weights lie."""

    root: Place = "."
    """Folder that a path in `backbones.NAME.pretrained` is relative to."""


class Overrides(Section):
    """What is overridden of the global sections.

    Every field of those sections has a default, so an override is a section of its own, of which
    only the fields that were given count.
    """

    images: Geometry | None = None
    sampling: Sampling | None = None
    loss: Loss | None = None
    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    ema: Ema | None = None
    augment: Augment | None = None
    network: Network | None = None


Kind = Literal["trained", "frozen"]
Pooling = Literal["token", "mean", "max"]
GRAPH_ENDING = ".onnx"


class Graph(Section):
    """Of an encoder that is an ONNX file: what nothing in the file says."""

    output: str
    """Name of the output that is the embedding, `(b, d)`, or that is pooled: tokens `(b, n, d)` or
    maps `(b, d, h, w)`."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (1.0, 1.0, 1.0)
    """Of red, green and blue in 0 … 1: what each channel is less, and then divided by."""
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    """Order of the axes of its input."""
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    """Of its input; uint8: grey levels of 0 … 255 as they are."""
    prefix_tokens: NonNegativeInt = 1
    """Tokens that stand for no place, the class token first."""


class Backbone(Overrides):
    """One entry of `backbones`: the network, and what it overrides of the global sections."""

    kind: Kind = "trained"
    """`frozen`: pretrained weights stay as they are, the network runs once over all pictures, and
    its head is a logistic regression on what it says of them."""
    model: str
    """Name of a timm network, such as `resnet50`; of a frozen one also an ONNX file, `NAME.onnx`,
    below `weights.root`."""
    graph: Graph | None = None
    """Of an ONNX file."""
    pooling: Pooling | None = None
    """Of a frozen network: the class token, or the mean or highest value over all places. null:
    what the network's own head sees; of a `layer` the mean."""
    layer: NonNegativeInt | None = None
    """Of a frozen network: a block or stage below the last one, counted from 0, as timm's
    `forward_intermediates` counts them."""
    pretrained: bool | str = False
    """`true` (timm's own weights, unless `weights.root` has `<model>.safetensors`), a file or a
    folder below `weights.root`, or `hf-hub:NAME`."""
    image_size: Annotated[int, Field(ge=16)] | Literal["own"] | None = None
    """Side in pixels that the network sees; `images.size` is the default, and the most but for
    `images.mode` crop. `own`: what timm names for this network and its weights, or the graph."""


class TrainingSections(Section):
    """The global sections that a backbone may override."""

    images: Geometry = Geometry()
    sampling: Sampling
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    ema: Ema
    augment: Augment
    network: Network


LEARNING = ("loss", "optimizer", "schedule", "ema", "augment")
"""Sections that say how weights change. Those of a frozen network stay, so it has the defaults."""
OF_FROZEN = {"input", "precision"}
"""Fields of `network` that say what a frozen network is shown, and how it computes."""


class MemberSettings(TrainingSections):
    """Everything that one member's training is made of, resolved."""

    kind: Kind = "trained"
    model: str
    pooling: Pooling | None = None
    layer: int | None = None
    graph: Graph | None = None
    width: int | None = None
    """Of the embedding of a graph, once it was looked up."""
    pretrained: bool | str
    image_size: int
    own_size: bool = False
    """The size is the network's own, still to be looked up; `image_size` is the most it may be."""
    weights: Weights
    seed: int


class TrainParams(TrainingSections, StageParams):
    """What `train` reads."""

    seed: Seed
    data: DataRoot
    images: TrainedImages
    weights: Weights
    backbones: Annotated[dict[BackboneName, Backbone], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_backbones(self) -> Self:
        problems = [p for name in self.backbones for p in self._find_problems(name)]
        if problems:
            raise ValueError("\n".join(problems))  # one problem a line
        return self

    def _find_problems(self, name: str) -> list[str]:
        settings = self.resolve_backbone(name)
        entry = self.backbones[name]
        no_use = f"a {entry.kind} network has no use for it, take it out or change its kind"
        problems = [f"{field}: {no_use}" for field in list_unused(entry)]
        problems = [f"backbones.{name}: {p}" for p in problems + find_kind_problems(entry)]
        if settings.graph is not None and settings.network.input != "rgb":
            found = f"network.input {settings.network.input}"
            problems.append(f"backbones.{name}: {found}: an ONNX file sees colours, set it to rgb")
        problems += [f"backbones.{name}.{p}" for p in find_size_problems(settings, self.images)]
        return problems + [f"{p} (backbone {name})" for p in find_conflicts(settings)]

    def resolve_backbone(self, name: str) -> MemberSettings:
        """The settings of one backbone: global sections with its own overrides.

        Raises `ConfigError` for a name that is not in `backbones`.
        """
        if name not in self.backbones:
            advice = f"backbones.{name}: unknown{suggest_name(name, list(self.backbones))}"
            hint = "A new one: --set backbones.NAME.model=TIMM_NAME --out DIR"
            raise ConfigError("params.yaml", [advice], hint)
        entry = self.backbones[name]
        merged = {}
        for key, field in TrainingSections.model_fields.items():
            section, override, kind = getattr(self, key), getattr(entry, key), field.annotation
            assert kind is not None
            known = set(kind.model_fields)
            given = override.model_dump(exclude_unset=True) if override else {}
            common = section.model_dump(include=_list_common(entry.kind, key, known))
            merged[key] = kind(**{**common, **given})
        is_own = entry.image_size == "own"
        return MemberSettings(
            kind=entry.kind,
            model=entry.model,
            pooling=entry.pooling,
            layer=entry.layer,
            graph=entry.graph,
            pretrained=entry.pretrained,
            image_size=self.images.size if is_own else entry.image_size or self.images.size,
            own_size=is_own,
            weights=self.weights,
            seed=self.seed,
            **merged,
        )


def _list_common(kind: Kind, name: str, fields: set[str]) -> set[str]:
    """Of the `fields` of a global section those that a backbone of this kind takes over."""
    if kind == "frozen" and name in LEARNING:
        return set()
    return OF_FROZEN if kind == "frozen" and name == "network" else fields


def list_unused(entry: Backbone) -> list[str]:
    """Sections and fields that an entry of `backbones` sets and its kind has no use for."""
    if entry.kind == "trained":
        fields = ("pooling", "layer", "graph")
        return [field for field in fields if getattr(entry, field) is not None]
    unused = [section for section in LEARNING if getattr(entry, section) is not None]
    given = entry.network.model_fields_set if entry.network else set[str]()
    unused += [f"network.{field}" for field in sorted(given - OF_FROZEN)]
    if entry.sampling is not None and entry.sampling.pairs:
        unused.append("sampling.pairs")
    return unused


def find_kind_problems(entry: Backbone) -> list[str]:
    """What the network of an entry of `backbones` cannot be, or lacks."""
    is_graph = entry.model.endswith(GRAPH_ENDING)
    if entry.kind == "trained":
        problem = f"model {entry.model}: an ONNX file cannot be trained: kind: frozen"
        return [problem] if is_graph else []
    if is_graph:
        return _find_graph_problems(entry)
    problems = []
    if entry.graph is not None:
        problems.append(f"graph is a matter of ONNX files, and model {entry.model} is none")
    if entry.pretrained is False:
        problems.append(
            "pretrained false: a frozen network that has learned nothing tells nothing; name its "
            "weights"
        )
    return problems


def _find_graph_problems(entry: Backbone) -> list[str]:
    found = {
        f"graph: model {entry.model} needs it, and its output at least": entry.graph is None,
        "pretrained: an ONNX file holds its weights, take it out": entry.pretrained is not False,
        "layer: of an ONNX file an inner layer is another graph.output": entry.layer is not None,
    }
    if (graph := entry.graph) is not None:
        plain = Graph(output=graph.output)
        found["graph.mean and graph.std: grey levels of uint8 are given as they are"] = (
            graph.dtype == "uint8" and (graph.mean, graph.std) != (plain.mean, plain.std)
        )
    return [problem for problem, is_so in found.items() if is_so]


def find_size_problems(settings: MemberSettings, images: TrainedImages) -> list[str]:
    """A side of squares that the store does not hold."""
    if settings.image_size <= images.size or settings.images.mode == "crop":
        return []
    asked = f"image_size {settings.image_size} is above images.size {images.size}"
    return [f"{asked}: pixels that the store does not hold"]


def find_conflicts(settings: MemberSettings) -> list[str]:
    """What the sections of one backbone ask for together and cannot have."""
    sampling, loss, ema = settings.sampling, settings.loss, settings.ema
    kind = LOSS_KINDS[loss.kind]
    epochs, images = settings.schedule.epochs, settings.schedule.images
    mixes = settings.augment.mixes
    tune, frozen = settings.optimizer.tune, settings.optimizer.frozen_epochs
    soup = settings.schedule.soup
    even = sampling.mode in ("balanced", "undersample") and sampling.real_per_fake == 1
    found = {
        f"ema.half_life_epochs {ema.half_life_epochs} is more than a third of schedule.epochs "
        f"{epochs}: the average would still hold the untrained weights": (
            (ema.half_life_epochs or 0) > (epochs or math.inf) / 3
        ),
        f"schedule.epochs {epochs} and schedule.images {images}: set one of them, and the other "
        "one to null": (epochs is None) == (images is None),
        f"optimizer.frozen_epochs {frozen:g} of schedule.epochs {epochs}: the head alone would "
        "learn. Say so by optimizer.tune head, and set frozen_epochs to 0": (
            frozen > 0 and (tune == "head" or frozen >= (epochs or math.inf))
        ),
        f"loss.kind {loss.kind} cannot learn from mixed labels: set augment.mixup and "
        "augment.cutmix to 0": mixes and not kind.mixes_labels,
        f"loss.kind {loss.kind} changes nothing where sampling.mode {sampling.mode} draws both "
        "classes alike": even and kind.needs_imbalance and loss.class_weight in ("none", 1),
        f"sampling.pairs: sampling.mode {sampling.mode} has no classes to draw side by side; "
        "set it to balanced or undersample": (
            sampling.pairs and sampling.mode not in ("balanced", "undersample")
        ),
        f"schedule.soup {soup}: networks that begin at random weights go ways of their own, and "
        "the average of their weights is none of them. Name pretrained weights, or set it to 1": (
            soup > 1 and settings.pretrained is False
        ),
        "loss.alignment and loss.uniformity act on directions of embeddings: set network.head to "
        "cosine": loss.sees_embeddings and settings.network.head != "cosine",
        "loss.alignment and loss.uniformity change nothing where optimizer.tune head lets the head "
        "alone learn": loss.sees_embeddings and tune == "head",
    }
    return [text for text, is_so in found.items() if is_so]


def is_hub_name(pretrained: bool | str) -> bool:
    """Whether weights come from the Hugging Face hub."""
    return isinstance(pretrained, str) and re.match(r"hf[-_]hub:", pretrained) is not None
