"""Pictures with a known history, for the tests of forensic features."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from features.demo.photos import read_photo
from features.forensics.batch import Batch
from features.forensics.columns import COLUMNS, FAMILIES

Pixels = npt.NDArray[np.uint8]
PHOTOS = ("astronaut", "motorcycle", "rocket", "flower")


def take_photos(size: int = 128, grain: float = 3.0) -> Pixels:
    """`(4, size, size, 3)`: photographs at half their size, with the noise of a camera."""
    rng = np.random.default_rng(0)
    taken = []
    for name in PHOTOS:
        photo = Image.fromarray(read_photo("train", name)).reduce(2)
        left, top = (photo.width - size) // 2, (photo.height - size) // 2
        crop = np.asarray(photo.crop((left, top, left + size, top + size)), np.float64)
        taken.append(crop + rng.normal(0, grain, crop.shape))
    return round_pixels(np.stack(taken))


def round_pixels(values: npt.NDArray[np.floating]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def save_jpeg(pixels: Pixels, quality: int, subsampling: int = 0) -> Pixels:
    saved = []
    for image in pixels:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
        saved.append(np.asarray(Image.open(buffer)))
    return np.stack(saved)


def resize(pixels: Pixels, size: int, method=Image.Resampling.BILINEAR) -> Pixels:
    return np.stack([np.asarray(Image.fromarray(p).resize((size, size), method)) for p in pixels])


def enlarge(pixels: Pixels) -> Pixels:
    """Half of the detail: each picture at half its size and back."""
    return resize(resize(pixels, pixels.shape[1] // 2), pixels.shape[1])


def mark_middle(size: int) -> npt.NDArray[np.bool_]:
    """`(size, size, 1)`: a square of a quarter of the picture."""
    marked = np.zeros((size, size, 1), bool)
    marked[size // 4 : -size // 4, size // 4 : -size // 4] = True
    return marked


def measure(family: str, pixels: Pixels) -> dict[str, npt.NDArray[np.floating]]:
    return dict(FAMILIES[family].measure(Batch(pixels)))


def compare(family: str, column: str, pixels: Pixels, others: Pixels) -> float:
    """By how much the column is larger in `others`; the mean over the pictures."""
    assert f"{family}:{column}" in COLUMNS
    return float((measure(family, others)[column] - measure(family, pixels)[column]).mean())


def list_odd_pictures(size: int) -> dict[str, Pixels]:
    """Pictures `(size, size, 3)` that break a careless logarithm or division."""
    rng = np.random.default_rng(size)
    chess = np.indices((size, size)).sum(axis=0)[..., None] % 2 * np.full(3, 255)
    point = np.zeros((size, size, 3))
    point[size // 2, size // 2] = 255
    ramp = np.linspace(0, 255, size)[:, None, None] * np.ones((size, 3))
    pictures = {
        "black": np.zeros((size, size, 3)),
        "white": np.full((size, size, 3), 255),
        "grey": np.full((size, size, 3), 128),
        "red": np.ones((size, size, 1)) * [255, 0, 0],
        "half": np.indices((size, size))[0][..., None] // (size // 2) * np.full(3, 255),
        "chess": chess,
        "point": point,
        "ramp": ramp,
        "noise": rng.integers(0, 256, (size, size, 3)),
        "black and white noise": rng.integers(0, 2, (size, size, 1)) * np.full(3, 255),
    }
    return {name: np.asarray(values).astype(np.uint8) for name, values in pictures.items()}
