"""The forgeries of the embedded default: each alters one soft-edged region of a picture.

A generator takes a scene and returns what the region is replaced with; `forge` blends it in.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.demo.photos import Pixels, draw_grain, pass_through_jpeg, resample

Mask = NDArray[np.float32]  # (h, w), 0..1, 1 = forged


@dataclass(frozen=True)
class Scene:
    """What a generator may use: the picture, where it forges, and a donor of the same tile."""

    image: Pixels
    mask: Mask
    take_donor: Callable[[], Pixels]


def blur_pixels(pixels: Pixels, sigma: float) -> Pixels:
    """Gaussian blur along height and width only; (h, w) or (h, w, 3)."""
    from scipy.ndimage import gaussian_filter

    blurred: Pixels = gaussian_filter(pixels, (sigma, sigma, 0)[: pixels.ndim], mode="nearest")
    return blurred


def draw_blob(image: Pixels, rng: np.random.Generator) -> Mask:
    """A wobbly blob with a soft edge, about a fifth to two fifths of the picture.

    The most textured of four places: what is done to plain sky leaves no trace.
    """
    size = image.shape[0]
    green = image[..., 1]
    detail = blur_pixels(np.abs(green - blur_pixels(green, 1.0)), size / 10)
    places = rng.uniform(0.3, 0.7, (4, 2)) * size
    y, x = max(places, key=lambda place: float(detail[int(place[0]), int(place[1])]))
    rows, columns = np.mgrid[:size, :size]
    angle = np.arctan2(rows - y, columns - x)
    radius = np.full((size, size), rng.uniform(0.28, 0.42) * size)
    for wave in (2, 3, 4):
        swing = rng.uniform(0.0, 0.15) / wave
        radius *= 1.0 + swing * np.cos(wave * angle + rng.uniform(0.0, 2 * np.pi))
    inside = (np.hypot(rows - y, columns - x) < radius).astype(np.float32)
    return blur_pixels(inside, float(rng.uniform(0.6, 2.0)))


def is_grey(image: Pixels) -> bool:
    """Whether the picture has no colour: a forgery must not bring any in."""
    return float(np.median(np.abs(image[..., 0] - image[..., 2]))) < 6.0


def restore_grain(smooth: Pixels, scene: Scene, share: float, rng: np.random.Generator) -> Pixels:
    """Adds white noise worth `share` of the fine detail that `smooth` lost, as forgers do."""
    weight = scene.mask[..., None]
    lost = (scene.image - blur_pixels(scene.image, 1.0)) - (smooth - blur_pixels(smooth, 1.0))
    sigma = float(np.sqrt((weight * lost**2).sum() / (3 * weight.sum())))
    return smooth + draw_grain(smooth.shape, share * min(sigma, 12.0), is_grey(smooth), rng)


def self_blend(scene: Scene, rng: np.random.Generator) -> Pixels:
    """The region from a re-coloured, re-scaled, re-saved copy of the same picture.

    Self-blended images: Shiohara & Yamasaki, CVPR 2022.
    """
    from scipy.ndimage import shift

    image = scene.image
    size = image.shape[0]
    gain = rng.uniform(0.85, 1.15, 3) if not is_grey(image) else rng.uniform(0.85, 1.15)
    offset = rng.uniform(-10, 10, 3) if not is_grey(image) else rng.uniform(-10, 10)
    mean = image.mean(axis=(0, 1))
    copy = ((image - mean) * gain + mean + offset).astype(np.float32)
    if rng.random() < 0.5:
        copy = resample(resample(copy, round(size * rng.uniform(0.5, 0.8)), 1), size, 1)
    else:
        copy = copy + rng.uniform(0.4, 1.0) * (copy - blur_pixels(copy, 1.0))
    moved = shift(copy, (*rng.uniform(-3, 3, 2), 0), order=1, mode="nearest")
    saved = pass_through_jpeg(moved, int(rng.integers(45, 85)), 2)
    return restore_grain(saved, scene, rng.uniform(0.0, 0.15), rng)


def splice(scene: Scene, rng: np.random.Generator) -> Pixels:
    """The region from another picture of the same tile, with its tones but its own history.

    Tones matched as in Reinhard et al. 2001; traces as in Noiseprint (Cozzolino & Verdoliva 2020).
    """
    donor = scene.take_donor()
    size = donor.shape[0]
    donor = resample(donor, round(size * rng.uniform(1.1, 1.7)), 0)[:size, :size]
    weight = scene.mask[..., None] / scene.mask.sum()
    mean = (weight * scene.image).sum(axis=(0, 1))
    donor_mean = (weight * donor).sum(axis=(0, 1))
    matched = donor - rng.uniform(0.6, 1.0) * (donor_mean - mean)
    if is_grey(scene.image):
        matched = np.repeat(matched.mean(axis=2, keepdims=True), 3, axis=2)
    return restore_grain(matched.astype(np.float32), scene, rng.uniform(0.0, 0.15), rng)


def upsample(scene: Scene, rng: np.random.Generator) -> Pixels:
    """The region at half resolution, brought back by a transposed convolution.

    An imperfect kernel leaves the period-2 pattern of generators (Odena et al. 2016; Wang et al.,
    CVPR 2020).
    """
    from scipy.ndimage import convolve

    image = scene.image
    size = image.shape[0]
    small = resample(image, (size + 1) // 2, 1)
    sparse = np.zeros((2 * small.shape[0], 2 * small.shape[1], 3), np.float32)
    sparse[::2, ::2] = small
    line = np.array([0.5, 1.0, 0.5])
    kernel = np.outer(line, line) + rng.normal(0.0, 0.012, (3, 3))
    large = convolve(sparse, kernel[..., None].astype(np.float32), mode="mirror")[:size, :size]
    large = large + rng.uniform(0.5, 1.2) * (large - blur_pixels(large, 1.5))
    return restore_grain(large, scene, rng.uniform(0.0, 0.15), rng)


def inpaint(scene: Scene, rng: np.random.Generator) -> Pixels:
    """The region filled from its surroundings, with a random-phase texture on top.

    Push-pull filling (Gortler et al. 1996); texture of Galerne, Gousseau & Morel 2011.
    """
    image = scene.image
    known = (scene.mask < 0.05).astype(np.float32)[..., None]
    filled = image * known + image.mean(axis=(0, 1)) * (1 - known)
    for sigma in (16.0, 8.0, 4.0, 2.0):
        weight = blur_pixels(known, sigma)
        local = blur_pixels(image * known, sigma) / np.maximum(weight, 1e-6)
        trust = np.clip(weight * 4, 0, 1) * (1 - known)
        filled = filled * (1 - trust) + local * trust
    detail = (image - blur_pixels(image, 2.5)) * known
    spectrum = np.fft.fft2(detail.mean(axis=2))
    phase = np.fft.fft2(rng.standard_normal(known.shape[:2]))
    texture = np.fft.ifft2(np.abs(spectrum) * phase / np.maximum(np.abs(phase), 1e-9)).real
    # A hole in a strongly edged picture would be filled with stripes: at most 14 grey levels.
    strength = rng.uniform(0.5, 1.0) * min(float(detail.std()), 14.0)
    texture *= strength / max(float(texture.std()), 1e-3)
    result: Pixels = (filled + texture[..., None]).astype(np.float32)
    return result


def smooth(scene: Scene, rng: np.random.Generator) -> Pixels:
    """The region denoised with its edges kept, and some grain put back.

    Guided filter: He, Sun & Tang 2010.
    """
    from scipy.ndimage import uniform_filter

    image = scene.image
    window = (2 * int(rng.integers(1, 4)) + 1,) * 2 + (1,)
    noise = float(rng.uniform(8.0, 20.0)) ** 2
    mean = uniform_filter(image, window)
    variance = np.maximum(uniform_filter(image * image, window) - mean * mean, 0.0)
    slope = variance / (variance + noise)
    denoised = uniform_filter(slope, window) * image + uniform_filter(mean - slope * mean, window)
    return restore_grain(denoised, scene, rng.uniform(0.0, 0.15), rng)


def quantise(scene: Scene, rng: np.random.Generator) -> Pixels:
    """The region rebuilt from a small code book of 4 × 4 patches of the picture itself.

    In the spirit of vector-quantised autoencoders (van den Oord et al. 2017).
    """
    image = scene.image
    side = image.shape[0] // 4 * 4 - 4  # the patches' grid lies anywhere on the last JPEG's
    cells = side // 4
    top, left = rng.integers(0, image.shape[0] - side + 1, 2)
    part = image[top : top + side, left : left + side]
    patches = part.reshape(cells, 4, cells, 4, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 48)
    mean = patches.reshape(-1, 16, 3).mean(axis=1)
    detail = patches - np.tile(mean, 16)
    book = detail[rng.choice(len(detail), min(48, len(detail)), replace=False)]
    # einsum, not BLAS: the same bits whatever the number of threads
    distance = (book**2).sum(axis=1) - 2 * np.einsum("nd,kd->nk", detail, book)
    nearest = distance.argmin(axis=1)
    members = np.maximum(np.bincount(nearest, minlength=len(book)), 1)[:, None]
    means = np.zeros_like(book)
    np.add.at(means, nearest, detail)
    rebuilt = (means / members)[nearest] + np.tile(mean, 16)
    result = image.copy()
    result[top : top + side, left : left + side] = (
        rebuilt.reshape(cells, cells, 4, 4, 3).transpose(0, 2, 1, 3, 4).reshape(side, side, 3)
    )
    softness = float(rng.uniform(0.3, 0.7))
    return restore_grain(blur_pixels(result, softness), scene, rng.uniform(0.0, 0.15), rng)


Generator = Callable[[Scene, np.random.Generator], Pixels]
GENERATORS: dict[str, Generator] = {
    "self_blend": self_blend,
    "splice": splice,
    "upsample": upsample,
    "inpaint": inpaint,
    "smooth": smooth,
    "quantise": quantise,
}
UNSEEN = "quantise"  # in val and test only: a detector meets forgeries that it never learned


def forge(
    image: Pixels, generator: str, take_donor: Callable[[], Pixels], rng: np.random.Generator
) -> tuple[Pixels, Mask]:
    """`image` (size, size, 3) with one region re-made by `generator`, and the region."""
    mask = draw_blob(image, rng)
    replacement = GENERATORS[generator](Scene(image, mask, take_donor), rng)
    weight = mask[..., None]
    return image * (1 - weight) + replacement * weight, mask
