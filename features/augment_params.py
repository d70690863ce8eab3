"""Settings of the random changes of the images that a network learns from."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, PositiveFloat, model_validator

from features.learning_params import Probability
from features.params import Section


def _check_order(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the lower bound {bounds[0]:g} is above the upper one {bounds[1]:g}")
    return bounds


Quality = Annotated[float, Field(ge=1, le=100)]
Sigma = Annotated[float, Field(gt=0, le=10)]
Levels = Annotated[float, Field(gt=0, le=128)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Qualities = Annotated[tuple[Quality, Quality], AfterValidator(_check_order)]
Sigmas = Annotated[tuple[Sigma, Sigma], AfterValidator(_check_order)]
LevelRange = Annotated[tuple[Levels, Levels], AfterValidator(_check_order)]
Fractions = Annotated[tuple[Fraction, Fraction], AfterValidator(_check_order)]


class Augment(Section):
    """Random changes, each with its chance; ranges are drawn from evenly.

    In this order: self-blending, crop, flips and turns, colour, rescaling, blur, noise, JPEG,
    cut-out; mixup or cutmix last, on whole batches.
    """

    self_blend: Probability = 0.0
    """A real image blended with a changed copy of itself becomes a fake (Shiohara and Yamasaki,
    CVPR 2022). It imitates face swaps."""
    crop_min_area: Fraction = 1.0
    """Random resized crop to at least this share of the area; 1: none."""
    hflip: Probability = 0.5
    vflip: Probability = 0.0
    rotate90: Probability = 0.0
    """A turn by 90, 180 or 270 degrees."""
    colour: Probability = 0.0
    colour_strength: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Brightness, contrast and saturation change by up to this share."""
    rescale: Probability = 0.0
    """Made smaller and large again."""
    rescale_factor: Fractions = (0.4, 0.9)
    blur: Probability = 0.0
    blur_sigma: Sigmas = (0.3, 2.0)
    """Pixels."""
    noise: Probability = 0.0
    noise_std: LevelRange = (1.0, 10.0)
    """Grey levels of 0 … 255."""
    jpeg: Probability = 0.0
    """Saved as a JPEG and read again: 4:4:4 or 4:2:0, each half of the time."""
    jpeg_quality: Qualities = (50.0, 95.0)
    cutout: Probability = 0.0
    """A rectangle turns grey."""
    cutout_area: Fractions = (0.02, 0.2)
    mixup: Probability = 0.0
    """Chance of a batch (timm's `Mixup`)."""
    mixup_alpha: PositiveFloat = 0.2
    cutmix: Probability = 0.0
    """Chance of a batch; at most 1 - `mixup`."""
    cutmix_alpha: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _check_mixing(self) -> Self:
        if self.mixup + self.cutmix > 1:
            raise ValueError(f"mixup {self.mixup:g} and cutmix {self.cutmix:g} add up to above 1")
        return self
