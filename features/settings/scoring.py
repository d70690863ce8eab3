"""Settings of dumping: what each image is scored as, the same for all folds of a backbone."""

import itertools
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from features.errors import ConfigError
from features.settings.images import DataRoot, Images, Mode
from features.settings.sections import Section, StageParams, suggest_name

Tta = Literal["none", "hflip", "six"]
Side = Annotated[int, Field(ge=16)]
MOST_CROPS = 9
"""Three by three squares of 224 pixels see all of 672 × 672."""


class Scoring(Section):
    """How the images of one backbone are scored."""

    tta: Tta = "none"
    """Views that scores and embeddings are the mean of. `hflip`: the image and its mirror image;
    `six`: also upside down and turned by 90, 180 and 270 degrees."""
    image_size: Side | None = None
    """Side in pixels that the network sees; at most `images.size`, but for crops. null: that of its
    training."""
    crops: Annotated[int, Field(ge=1, le=64)] | None = None
    """Of a backbone of `images.mode` crop: squares of a picture that are scored at most, on a grid;
    small pictures have fewer. null: 9."""

    @property
    def most_crops(self) -> int:
        """Squares of a picture at most, where it has several."""
        return self.crops or MOST_CROPS

    def choose_side(self, trained: int) -> int:
        """Side in pixels that a network sees which was trained with `trained`."""
        return self.image_size or trained


class DumpSection(Scoring):
    """The section `dump`: its own values, and what backbones override of them.

    It lies outside of `backbones`, whose entries DVC tracks for training too.
    """

    engine: Literal["auto", "torch"] = "auto"
    """`auto`: ONNX Runtime on a CPU, where it agrees with torch and there are images enough."""
    backbones: dict[str, Scoring] = Field(default_factory=dict)
    """By name, what a backbone overrides."""

    def resolve_backbone(self, name: str) -> Scoring:
        """How the images of one backbone are scored; a name without overrides has none."""
        own = self.backbones.get(name, Scoring()).model_dump(exclude_unset=True)
        common = self.model_dump(include=set(Scoring.model_fields))
        return Scoring(**{**common, **own})

    def find_problems(self, most: int, modes: Mapping[str, Mode]) -> list[str]:
        """What backbones of these modes cannot have; `most` is the side of the store's squares."""
        known = list(modes)
        problems = [
            f"dump.backbones.{name}: unknown{suggest_name(name, known)}"
            for name in self.backbones
            if name not in known
        ]
        if self.crops is not None and modes and "crop" not in modes.values():
            problems.append(f"dump.crops {self.crops}: no backbone has images.mode crop")
        found = (self.find_member_problems(most, *pair) for pair in modes.items())
        return list(dict.fromkeys(itertools.chain(problems, *found)))

    def find_member_problems(self, most: int, name: str, mode: Mode) -> list[str]:
        """What a member of this backbone cannot have."""
        if mode == "crop":
            return []
        problems = []
        own, side = self.backbones.get(name, Scoring()), self.resolve_backbone(name).image_size
        if side is not None and side > most:
            place = f"dump.backbones.{name}" if "image_size" in own.model_fields_set else "dump"
            problem = f"{place}.image_size {side} is above images.size {most}: pixels that the "
            problems.append(f"{problem}store does not hold")
        if own.crops is not None:
            problem = f"dump.backbones.{name}.crops {own.crops}: its images.mode is {mode}"
            problems.append(f"{problem}, and only crop has several squares of a picture")
        return problems


class DumpParams(StageParams):
    """What `dump` reads; all else about a member stands in its `member.json`."""

    data: DataRoot
    images: Images
    dump: DumpSection

    def resolve_member(self, name: str, mode: Mode) -> Scoring:
        """How the images of a backbone's member are scored. Raises `ConfigError` for what its mode
        cannot have.
        """
        if problems := self.dump.find_member_problems(self.images.size, name, mode):
            raise ConfigError("params.yaml", problems)
        return self.dump.resolve_backbone(name)
