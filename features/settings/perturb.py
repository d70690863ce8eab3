"""Settings of `perturb`: which val rows, and what is done to their pictures, how strongly."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, field_validator

from features.settings.members import ActiveFolds
from features.settings.scoring import DumpParams
from features.settings.sections import Section

Share = Annotated[float, Field(gt=0, le=1)]


class PerturbSection(Section):
    """Perturbations by name, each with its strengths; an empty list leaves one out.

    Units mean the same at any image size. Pictures are the squares of `images.size`, not the files.
    """

    rows: NonNegativeInt | Literal["all"] = 300
    """Val rows that are scored, half of them fakes as far as there are; 0: nothing is done."""
    jpeg: tuple[Annotated[int, Field(ge=1, le=100)], ...] = (90, 75, 50)
    """Saved as JPEG: qualities of libjpeg, with chroma at half the resolution, as Pillow saves."""
    blur: tuple[Annotated[float, Field(gt=0, le=0.1)], ...] = (0.005, 0.01)
    """Gaussian: standard deviations as shares of the side (0.01 of 256 pixels: 2.56 pixels)."""
    noise: tuple[PositiveFloat, ...] = (3.0, 8.0)
    """Gaussian, of each pixel and colour by itself: standard deviations in grey levels of 255."""
    rescale: tuple[Share, ...] = (0.75, 0.5)
    """Made smaller by this factor of the side, and large again."""
    crop: tuple[Share, ...] = (0.8,)
    """The centre alone: shares of the side that are kept, resized to the whole."""
    brightness: tuple[PositiveFloat, ...] = (0.7, 1.3)
    """Every value times this factor."""

    @field_validator("jpeg", "blur", "noise", "rescale", "crop", "brightness")
    @classmethod
    def _check_repeated(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(values)) < len(values):
            raise ValueError("a strength stands there twice")
        return values

    @field_validator("rows")
    @classmethod
    def _check_rows(cls, rows: int | str) -> int | str:
        if rows == 1:
            raise ValueError("one row is of one class alone; at least 2, or 0")
        return rows

    @property
    def strengths(self) -> dict[str, tuple[float, ...]]:
        """By perturbation, in the order of the fields."""
        names = [name for name in type(self).model_fields if name != "rows"]
        return {name: tuple(float(value) for value in getattr(self, name)) for name in names}


class PerturbParams(DumpParams):
    """What `perturb` reads."""

    seed: NonNegativeInt
    perturb: PerturbSection
    folds: ActiveFolds
    backbones: dict[str, object]
    """Only the names count; their settings stand in `member.json`."""
    outside: dict[str, object]
    """Whether there are any counts: what they say of changed pictures is not known."""
