"""Pictures as they stand in a self-contained page: small, as `data:` addresses."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from features.errors import ImageProblem
from features.pixels.decoding import decode_square
from features.pixels.kernels import PLAIN
from features.pixels.reading import read_content
from features.settings.images import Images

HEATS = ((0, 114, 178), (213, 94, 0))
"""Colours of a Grad-CAM map, for signs of real and of fake; what it covers says how much."""
HEAT_COVER = 0.75


@dataclass(frozen=True)
class PictureFormat:
    """How large and how good pictures are on the page."""

    side: int
    """Of rows of val, at most; their neighbours are smaller."""
    quality: int
    """Of WebP, 0 … 100."""


PICTURE_FORMATS = (
    PictureFormat(256, 80),
    PictureFormat(224, 65),
    PictureFormat(160, 55),
    PictureFormat(112, 45),
    PictureFormat(80, 35),
)
"""The best one whose page is small enough is taken."""
SMALL = 0.375
"""Side of a neighbour, as a share."""


@dataclass
class Pictures:
    """Images below `root` as networks see them: squares, and with `images.equalize` re-encoded."""

    root: Path
    images: Images
    trusted: tuple[str, ...] = ()
    """Folders outside `root` that links may lead into, as `find_trusted` gives them."""
    _kept: dict[str, npt.NDArray[np.uint8] | None] = field(default_factory=dict, repr=False)

    def encode(
        self, path: str, picture_format: PictureFormat, is_small: bool = False
    ) -> str | None:
        """WebP as a `data:` address; `None` where the file is not there or cannot be read."""
        square = self._read(path)
        if square is None:
            return None
        side = round(picture_format.side * SMALL) if is_small else picture_format.side
        image = Image.fromarray(square)
        if image.width > side:
            image = image.resize((side, side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=picture_format.quality, method=4)
        return _build_address("image/webp", buffer.getvalue())

    def _read(self, path: str) -> npt.NDArray[np.uint8] | None:
        if path not in self._kept:
            try:
                content = read_content(self.root, path, self.trusted)
                self._kept[path] = decode_square(content.data, self.images, PLAIN)
            except (ImageProblem, OSError):
                self._kept[path] = None
        return self._kept[path]


def encode_heat(heat: npt.NDArray[np.uint8], colour: tuple[int, int, int]) -> str | None:
    """A map `(h, w)` as a PNG that lets the picture below it through; `None` for an empty one."""
    if not heat.any():
        return None
    pixels = np.empty((*heat.shape, 4), np.uint8)
    pixels[..., :3] = colour
    pixels[..., 3] = np.rint(HEAT_COVER * heat)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return _build_address("image/png", buffer.getvalue())


def encode_heats(maps: Mapping[str, npt.NDArray[np.uint8]]) -> dict[str, list[str | None]]:
    """By backbone the maps `(2, h, w)` of one row: signs of real, signs of fake."""
    found = {name: list(map(encode_heat, sides, HEATS)) for name, sides in maps.items()}
    return {name: sides for name, sides in found.items() if any(sides)}


def _build_address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
