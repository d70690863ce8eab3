"""Squares as the world changes them: each variant a fixed function of a row's pixels and id.

It is the same for all members, on any device, and does not depend on the rows beside it.

worse = perturb_pixels(pixels, row_ids, Variant("jpeg", 50.0))
"""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from features.artifacts.perturbed import CLEAN, Variant
from features.core.manifest import Ids
from features.settings.perturb import PerturbSection
from stage1_cnn.augment import distortions, jpeg
from stage1_cnn.augment.distortions import to_pixels, to_planes

Change = Callable[[Tensor, float, Ids], Tensor]
"""Pixels uint8 `(b, s, s, 3)`, a strength in the units of `PerturbSection`, row ids `(b,)`."""


def list_variants(section: PerturbSection) -> tuple[Variant, ...]:
    """`CLEAN`, the tiers, every perturbation at each of its strengths; empty if there is none."""
    listed = [Variant(name, None) for name in section.tiers]
    listed += [Variant(name, s) for name, found in section.strengths.items() for s in found]
    return (Variant(CLEAN, None), *listed) if listed else ()


def perturb_pixels(pixels: Tensor, row_ids: Ids, variant: Variant) -> Tensor:
    """Pixels uint8 `(b, s, s, 3)` of these rows to as many others; those of a tier stay."""
    if variant.strength is None or not len(pixels):
        return pixels
    return CHANGES[variant.perturbation](pixels, variant.strength, row_ids).contiguous()


def _compress(pixels: Tensor, quality: float, row_ids: Ids) -> Tensor:
    count = len(pixels)
    return jpeg.compress(pixels, np.full(count, int(quality)), np.ones(count, bool))


def _blur(pixels: Tensor, share: float, row_ids: Ids) -> Tensor:
    sigma = share * pixels.shape[1]
    return to_pixels(distortions.blur(to_planes(pixels), np.full(len(pixels), sigma), sigma))


def _add_noise(pixels: Tensor, std: float, row_ids: Ids) -> Tensor:
    # A field of its own for each row, the same at every strength.
    keys = row_ids % (1 << 32)
    noisy = distortions.add_noise(to_planes(pixels), np.full(len(pixels), std), keys)
    return to_pixels(noisy)


def _rescale(pixels: Tensor, factor: float, row_ids: Ids) -> Tensor:
    return to_pixels(distortions.rescale(to_planes(pixels), np.full(len(pixels), factor)))


def _crop(pixels: Tensor, share: float, row_ids: Ids) -> Tensor:
    side = pixels.shape[1]
    kept = max(1, round(share * side))
    corner = (side - kept) // 2
    box = np.array([corner, corner, kept, kept])
    return distortions.crop(pixels, np.tile(box, (len(pixels), 1)), side)


def _brighten(pixels: Tensor, factor: float, row_ids: Ids) -> Tensor:
    return to_pixels(to_planes(pixels) * factor)


CHANGES: dict[str, Change] = {
    "jpeg": _compress,
    "blur": _blur,
    "noise": _add_noise,
    "rescale": _rescale,
    "crop": _crop,
    "brightness": _brighten,
}
"""By the fields of `PerturbSection`."""
