"""Settings of one member: global sections, and what a backbone overrides of them."""

import re
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from features.errors import ConfigError
from features.images_params import DataRoot, Images
from features.params import Section, StageParams, suggest_name

Probability = Annotated[float, Field(ge=0, le=1)]
BackboneName = Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]


class Sampling(Section):
    """Which rows a batch is drawn from."""

    mode: Literal["balanced", "natural"] = "balanced"
    """`balanced`: each batch holds the classes in the ratio `real_per_fake`; `natural`: all rows
    alike."""
    real_per_fake: PositiveFloat = 1.0
    """Reals drawn for each fake (balanced only)."""


class Loss(Section):
    """What is minimised: cross-entropy over the two classes."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Optimizer(Section):
    """Passed to `timm.optim.create_optimizer_v2`."""

    name: str = "adamw"
    lr: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.05


class Schedule(Section):
    """A fixed schedule: linear warm-up, then a cosine down to zero. Nothing stops it early."""

    epochs: PositiveInt = 5
    """One epoch draws as many images as the member has train rows."""
    warmup_epochs: NonNegativeFloat = 0.5
    batch_size: Annotated[int, Field(ge=2)] = 64


class Ema(Section):
    """Exponential moving average of the weights (`timm.utils.ModelEmaV3`); it is what is kept."""

    half_life_epochs: PositiveFloat = 0.5
    """After so many epochs an update counts half; at most a third of `schedule.epochs`."""


class Augment(Section):
    """Random changes of the images that a network learns from."""

    hflip: Probability = 0.5
    vflip: Probability = 0.0


class Weights(Section):
    """Where pretrained weights lie."""

    root: str = "."
    """Folder that a path in `backbones.NAME.pretrained` is relative to."""


class Backbone(Section):
    """One entry of `backbones`: the network, and what it overrides of the global sections.

    Every field of those sections has a default, so an override is a section of its own, of which
    only the fields that were given count.
    """

    model: str
    """Name of a timm network, such as `resnet50`."""
    pretrained: bool | str = False
    """`true` (timm's own weights), a file or a folder below `weights.root`, or `hf-hub:NAME`."""
    image_size: Annotated[int, Field(ge=16)] | None = None
    """Side in pixels that the network sees; at most `images.size`, which is the default."""
    sampling: Sampling | None = None
    loss: Loss | None = None
    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    ema: Ema | None = None
    augment: Augment | None = None


class TrainingSections(Section):
    """The global sections that a backbone may override."""

    sampling: Sampling
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    ema: Ema
    augment: Augment


class MemberSettings(TrainingSections):
    """Everything that one member's training is made of, resolved."""

    model: str
    pretrained: bool | str
    image_size: int
    weights: Weights
    seed: int


class DumpParams(StageParams):
    """What `dump` reads; all else about a member stands in its `member.json`."""

    data: DataRoot
    images: Images


class TrainParams(TrainingSections, StageParams):
    """What `train` reads."""

    seed: NonNegativeInt
    data: DataRoot
    images: Images
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
        if settings.image_size > self.images.size:
            problems.append(
                f"backbones.{name}.image_size {settings.image_size} is above images.size "
                f"{self.images.size}: pixels that the store does not hold"
            )
        if settings.ema.half_life_epochs > settings.schedule.epochs / 3:
            problems.append(
                f"ema.half_life_epochs {settings.ema.half_life_epochs} is more than a third of "
                f"schedule.epochs {settings.schedule.epochs} of backbone {name}: the average "
                "would still hold the untrained weights"
            )
        return problems

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
        for key in TrainingSections.model_fields:
            section, override = getattr(self, key), getattr(entry, key)
            given = override.model_dump(exclude_unset=True) if override else {}
            merged[key] = type(section)(**{**section.model_dump(), **given})
        return MemberSettings(
            model=entry.model,
            pretrained=entry.pretrained,
            image_size=entry.image_size or self.images.size,
            weights=self.weights,
            seed=self.seed,
            **merged,
        )


def is_hub_name(pretrained: bool | str) -> bool:
    """Whether weights come from the Hugging Face hub."""
    return isinstance(pretrained, str) and re.match(r"hf[-_]hub:", pretrained) is not None
