"""Settings of dumping: what each image is scored as, the same for all folds of a backbone."""

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from features.settings.images import DataRoot, Images
from features.settings.sections import Section, StageParams, suggest_name

Tta = Literal["none", "hflip", "six"]
Side = Annotated[int, Field(ge=16)]


class Scoring(Section):
    """How the images of one backbone are scored."""

    tta: Tta = "none"
    """Views that scores and embeddings are the mean of. `hflip`: the image and its mirror image;
    `six`: also upside down and turned by 90, 180 and 270 degrees."""
    image_size: Side | None = None
    """Side in pixels that the network sees; at most `images.size`. null: that of its training."""


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

    def find_problems(self, most: int, backbones: Iterable[str] | None = None) -> list[str]:
        """Sizes above `most`, that of the store, and overrides of names that `backbones` lacks."""
        places = {"dump": self, **{f"dump.backbones.{n}": own for n, own in self.backbones.items()}}
        problems = [
            f"{place}.image_size {scoring.image_size} is above images.size {most}: pixels that the "
            "store does not hold"
            for place, scoring in places.items()
            if scoring.image_size is not None and scoring.image_size > most
        ]
        known = list(self.backbones if backbones is None else backbones)
        return problems + [
            f"dump.backbones.{name}: unknown{suggest_name(name, known)}"
            for name in self.backbones
            if name not in known
        ]


class DumpParams(StageParams):
    """What `dump` reads; all else about a member stands in its `member.json`."""

    data: DataRoot
    images: Images
    dump: DumpSection

    @model_validator(mode="after")
    def _check_dump(self) -> Self:
        if problems := self.dump.find_problems(self.images.size):
            raise ValueError("\n".join(problems))  # one problem a line
        return self
