"""The real photographs of the embedded default, their tiles, and the chain every image shares.

The photographs come inside the installed scikit-image and scikit-learn; nothing is downloaded.
"""

import io
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.errors import IntegrityError

Pixels = NDArray[np.float32]  # (h, w, 3), 0..255, RGB

PHOTOS: dict[str, dict[str, str]] = {
    "train": {
        "astronaut": "skimage/data/astronaut.png",
        "brick": "skimage/data/brick.png",
        "camera": "skimage/data/camera.png",
        "flower": "sklearn/datasets/images/flower.jpg",
        "gravel": "skimage/data/gravel.png",
        "ihc": "skimage/data/ihc.png",
        "motorcycle": "skimage/data/motorcycle_left.png",
        "retina": "skimage/data/retina.jpg",
        "rocket": "skimage/data/rocket.jpg",
    },
    "val": {
        "chelsea": "skimage/data/chelsea.png",
        "china": "sklearn/datasets/images/china.jpg",
        "coins": "skimage/data/coins.png",
    },
    "test": {
        "coffee": "skimage/data/coffee.png",
        "grass": "skimage/data/grass.png",
        "hubble": "skimage/data/hubble_deep_field.jpg",
    },
}

TILE_SIDE = 165  # a tile is at least this large, so a 512-pixel photograph has 3 × 3
MAX_TILES_A_SIDE = 3
CROP_SIDES = (96, 180)  # smallest and largest crop, pixels of the photograph
MIN_CONTRAST = 9.0  # a crop of plain sky or of the retina's black rim shows no forgery
MARGIN = 8  # pixels beyond the size: room for the first JPEG's block grid to be cut off


@dataclass(frozen=True)
class Tile:
    """One cell of a photograph's grid. No crop crosses it: it is the fold group."""

    role: str
    photo: str
    index: int

    @property
    def name(self) -> str:
        """The group's name in the label file, such as `astronaut-3`."""
        return f"{self.photo}-{self.index}"


def find_photo(role: str, photo: str) -> Path:
    """Path of a bundled photograph, without importing the package that holds it."""
    package, _, inside = PHOTOS[role][photo].partition("/")
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    path = Path(folders[0] if folders else package) / inside
    if not path.is_file():
        advice = "Install the locked versions of scikit-image and scikit-learn: make setup"
        raise IntegrityError(path, "this photograph is not bundled in the package", advice)
    return path


@lru_cache(maxsize=32)
def read_photo(role: str, photo: str) -> NDArray[np.uint8]:
    """A photograph as (h, w, 3) uint8 RGB, halved where it is over 900 pixels.

    Retina and Hubble have no detail at their full size.
    """
    from PIL import Image

    with Image.open(find_photo(role, photo)) as opened:
        image = opened.convert("RGB")
    return np.asarray(image.reduce(2) if max(image.size) > 900 else image)


def count_tiles(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the grid of tiles."""
    rows, columns = (min(MAX_TILES_A_SIDE, max(1, side // TILE_SIDE)) for side in (height, width))
    return rows, columns


def list_tiles(role: str, photo: str) -> list[Tile]:
    """The tiles of a photograph, row by row."""
    rows, columns = count_tiles(*read_photo(role, photo).shape[:2])
    return [Tile(role, photo, index) for index in range(rows * columns)]


def read_tile(tile: Tile) -> NDArray[np.uint8]:
    """The pixels of one tile: tiles of a photograph share none."""
    photo = read_photo(tile.role, tile.photo)
    rows, columns = count_tiles(*photo.shape[:2])
    height, width = photo.shape[0] // rows, photo.shape[1] // columns
    row, column = divmod(tile.index, columns)
    return photo[row * height : (row + 1) * height, column * width : (column + 1) * width]


def draw_crop(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A square crop of 96 to 180 pixels with some contrast; the best of eight where none has."""
    height, width = pixels.shape[:2]
    high = max(CROP_SIDES[0], min(CROP_SIDES[1], int(0.94 * min(height, width))))
    best, best_contrast = pixels, -1.0
    for _ in range(8):
        side = int(rng.integers(CROP_SIDES[0], high + 1))
        top = int(rng.integers(0, height - side + 1))
        left = int(rng.integers(0, width - side + 1))
        crop = pixels[top : top + side, left : left + side]
        contrast = float(crop[..., 1].std())
        if contrast > best_contrast:
            best, best_contrast = crop, contrast
        if contrast >= MIN_CONTRAST:
            break
    return best


def resample(pixels: Pixels, side: int, method: int) -> Pixels:
    """Square resize with one of Pillow's filters, each channel in float."""
    from PIL import Image

    filters = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
    channels = [
        np.asarray(Image.fromarray(pixels[..., c]).resize((side, side), filters[method]))
        for c in range(pixels.shape[2])
    ]
    return np.stack(channels, axis=2)


def encode_jpeg(pixels: Pixels, quality: int, subsampling: int = 0) -> bytes:
    """JPEG bytes of float pixels, rounded and clipped."""
    from PIL import Image

    buffer = io.BytesIO()
    rounded = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    Image.fromarray(rounded).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def pass_through_jpeg(pixels: Pixels, quality: int, subsampling: int = 0) -> Pixels:
    """The pixels after one save and one load."""
    from PIL import Image

    with Image.open(io.BytesIO(encode_jpeg(pixels, quality, subsampling))) as image:
        return np.asarray(image, dtype=np.float32)


@dataclass(frozen=True)
class Look:
    """How one image was taken: drawn alike for reals, for fakes and for splice donors."""

    grey: bool
    method: int
    blur: float
    shrink: float
    grain: float
    quality: int
    subsampling: int


def draw_look(rng: np.random.Generator) -> Look:
    """Benign counterparts of what forgeries do: blur, re-sampling, grain, an earlier JPEG."""
    return Look(
        grey=bool(rng.random() < 0.25),
        method=int(rng.integers(0, 3)),
        blur=float(rng.uniform(0.3, 0.7)) if rng.random() < 0.2 else 0.0,
        shrink=float(rng.uniform(0.7, 0.95)) if rng.random() < 0.2 else 1.0,
        grain=float(rng.uniform(4.0, 6.0)),
        quality=int(rng.integers(88, 99)),
        subsampling=int(rng.choice([0, 2])),
    )


def take_picture(tile: Tile, size: int, look: Look, rng: np.random.Generator) -> Pixels:
    """An unforged picture (size, size, 3) of one tile.

    Crop, scale, benign blur and re-sampling, grain, first JPEG, then a cut off its 8 × 8 grid.
    """
    from scipy.ndimage import gaussian_filter

    side = size + MARGIN
    pixels = resample(draw_crop(read_tile(tile), rng).astype(np.float32), side, look.method)
    if look.grey:
        luma = (pixels * np.array([0.299, 0.587, 0.114], np.float32)).sum(axis=2, keepdims=True)
        pixels = np.repeat(luma, 3, axis=2)
    if look.shrink < 1.0:
        pixels = resample(resample(pixels, round(side * look.shrink), 1), side, 1)
    if look.blur > 0.0:
        pixels = gaussian_filter(pixels, (look.blur, look.blur, 0))
    pixels = pixels + draw_grain(pixels.shape, look.grain, look.grey, rng)
    pixels = pass_through_jpeg(pixels, look.quality, look.subsampling)
    top, left = rng.integers(0, MARGIN, 2)
    return pixels[top : top + size, left : left + size]


def draw_grain(
    shape: tuple[int, ...], sigma: float, grey: bool, rng: np.random.Generator
) -> Pixels:
    """White noise of standard deviation `sigma`, the same in all channels where `grey`."""
    height, width = shape[:2]
    noise = rng.standard_normal((height, width, 1 if grey else 3), dtype=np.float32) * sigma
    return np.broadcast_to(noise, (height, width, 3)).astype(np.float32)
