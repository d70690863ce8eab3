"""Settings of one member: global sections, and what a backbone overrides of them."""

import math
import re
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, model_validator

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
from features.settings.sections import Place, Section, StageParams, suggest_name

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


class Backbone(Overrides):
    """One entry of `backbones`: the network, and what it overrides of the global sections."""

    model: str
    """Name of a timm network, such as `resnet50`."""
    pretrained: bool | str = False
    """`true` (timm's own weights), a file or a folder below `weights.root`, or `hf-hub:NAME`."""
    image_size: Annotated[int, Field(ge=16)] | Literal["own"] | None = None
    """Side in pixels that the network sees; `images.size` is the default, and the most but for
    `images.mode` crop. `own`: what timm names for this network and its weights."""


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


class MemberSettings(TrainingSections):
    """Everything that one member's training is made of, resolved."""

    model: str
    pretrained: bool | str
    image_size: int
    own_size: bool = False
    """The size is the network's own, still to be looked up; `image_size` is the most it may be."""
    weights: Weights
    seed: int


class TrainParams(TrainingSections, StageParams):
    """What `train` reads."""

    seed: NonNegativeInt
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
        problems = []
        if settings.image_size > self.images.size and settings.images.mode != "crop":
            problems.append(
                f"backbones.{name}.image_size {settings.image_size} is above images.size "
                f"{self.images.size}: pixels that the store does not hold"
            )
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
            given = override.model_dump(exclude_unset=True) if override else {}
            merged[key] = kind(**{**section.model_dump(include=set(kind.model_fields)), **given})
        is_own = entry.image_size == "own"
        return MemberSettings(
            model=entry.model,
            pretrained=entry.pretrained,
            image_size=self.images.size if is_own else entry.image_size or self.images.size,
            own_size=is_own,
            weights=self.weights,
            seed=self.seed,
            **merged,
        )


def find_conflicts(settings: MemberSettings) -> list[str]:
    """What the sections of one backbone ask for together and cannot have."""
    sampling, loss, ema = settings.sampling, settings.loss, settings.ema
    kind = LOSS_KINDS[loss.kind]
    epochs, images = settings.schedule.epochs, settings.schedule.images
    mixes = settings.augment.mixup + settings.augment.cutmix > 0
    tune, frozen = settings.optimizer.tune, settings.optimizer.frozen_epochs
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
        "loss.alignment and loss.uniformity act on directions of embeddings: set network.head to "
        "cosine": loss.sees_embeddings and settings.network.head != "cosine",
        "loss.alignment and loss.uniformity change nothing where optimizer.tune head lets the head "
        "alone learn": loss.sees_embeddings and tune == "head",
    }
    return [text for text, is_so in found.items() if is_so]


def is_hub_name(pretrained: bool | str) -> bool:
    """Whether weights come from the Hugging Face hub."""
    return isinstance(pretrained, str) and re.match(r"hf[-_]hub:", pretrained) is not None
