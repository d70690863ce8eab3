"""Perturbations of files, before members that see no square of them get their crops.

squares = open_strength(val, Path("data"), images, Variant("blur", 0.01)).open("crop", 224)
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from features.artifacts.perturbed import Variant
from features.core.manifest import Manifest
from features.crops.crop_store import MemberStores
from features.pixels.store import FileChange
from features.settings.images import Images
from stage1_cnn.damage import steps
from stage1_cnn.damage.steps import Kernel, Pixels

Change = Callable[[Pixels, float, str], Pixels]
"""Uint8 `(h, w, 3)`, a strength in the units of `PerturbSection`, whose side is the longest one,
and the file's sha256, to as many other pixels."""


def open_strength(manifest: Manifest, root: Path, images: Images, variant: Variant) -> MemberStores:
    """The manifest's images at this strength: files are changed, then become what members see."""
    return MemberStores(manifest, root, images, FileChange(partial(change_file, variant)))


def change_file(variant: Variant, sha256: str, pixels: Pixels) -> Pixels:
    """Pixels `(h, w, 3)` of a file to as many others; noise follows from its `sha256`."""
    assert variant.strength is not None
    return FILE_CHANGES[variant.perturbation](pixels, variant.strength, sha256)


def _compress(pixels: Pixels, quality: float, sha256: str) -> Pixels:
    return steps.save_jpeg(pixels, int(quality))


def _blur(pixels: Pixels, share: float, sha256: str) -> Pixels:
    return steps.blur_picture(pixels, share * max(pixels.shape))


def _add_noise(pixels: Pixels, std: float, sha256: str) -> Pixels:
    # A field of its own for each file, the same at every strength.
    return steps.add_grain(pixels, std, np.random.default_rng(int(sha256[:16], 16)))


def _rescale(pixels: Pixels, factor: float, sha256: str) -> Pixels:
    small = steps.resize_picture(pixels, factor, Kernel.BILINEAR)
    return _resize(small, pixels)


def _crop(pixels: Pixels, share: float, sha256: str) -> Pixels:
    height, width = (max(1, round(share * side)) for side in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return _resize(steps.cut_rectangle(pixels, top, left, height, width), pixels)


def _resize(pixels: Pixels, like: Pixels) -> Pixels:
    size = (like.shape[1], like.shape[0])
    return np.asarray(Image.fromarray(pixels).resize(size, Kernel.BILINEAR))


def _brighten(pixels: Pixels, factor: float, sha256: str) -> Pixels:
    levels = np.clip(np.rint(np.arange(256) * factor), 0, 255).astype(np.uint8)
    return levels[pixels]


FILE_CHANGES: dict[str, Change] = {
    "jpeg": _compress,
    "blur": _blur,
    "noise": _add_noise,
    "rescale": _rescale,
    "crop": _crop,
    "brightness": _brighten,
}
"""By the fields of `PerturbSection`."""
