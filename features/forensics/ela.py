"""Forensic features from saving the picture again: error level analysis.

What was saved as JPEG before changes little when it is saved again; what was pasted in, drawn or
filtered since then changes more.
"""

import io

import numpy as np
from PIL import Image

from features.forensics.batch import (
    TILE_COLUMNS,
    Batch,
    Floats,
    Pixels,
    Values,
    average_tiles,
    describe_tiles,
    mix_luma,
)

QUALITY = 90
COARSE = 75
"""JPEG qualities of Pillow; without chroma subsampling, which would change all colours."""
_FLOOR = 0.05
"""Grey levels."""
COLUMNS = {
    "level": f"log10 mean change of the luminance when saved at quality {QUALITY}, grey levels",
    "coarse level": f"log10 mean change when saved at {COARSE}, over that at {QUALITY}",
    "unchanged": "share of pixels whose luminance changes by less than half a grey level",
    "chroma level": "log10 mean change of the colours, over that of the luminance",
    **{f"local {name}": f"log change by tile: {text}" for name, text in TILE_COLUMNS.items()},
}
"""By name, what each column is."""


def measure_ela(batch: Batch) -> Values:
    """Columns of `COLUMNS`.

    Sources: Krawetz, "A picture's worth", Black Hat 2007; two qualities, Farid, "Exposing digital
    forgeries from JPEG ghosts", TIFS 2009.
    """
    saved = np.stack([save_again(image) for image in batch.pixels])
    change = batch.planes - saved.transpose(0, 3, 1, 2)
    luma_change = mix_luma(change)
    colour_change = np.abs(change - luma_change[:, None]).mean(axis=(1, 2, 3)) + _FLOOR
    luma_change = np.abs(luma_change, out=luma_change)
    level = luma_change.mean(axis=(1, 2)) + _FLOOR
    local = describe_tiles(
        np.log(average_tiles(luma_change) + _FLOOR), np.log(batch.tile_texture + 0.1)
    )
    return {
        "level": np.log10(level),
        "coarse level": np.log10((measure_coarse(batch.luma) + _FLOOR) / level),
        "unchanged": np.count_nonzero(luma_change < 0.5, axis=(1, 2)) / luma_change[0].size,
        "chroma level": np.log10(colour_change / level),
        **{f"local {name}": value for name, value in local.items()},
    }


def save_again(image: Pixels, quality: int = QUALITY) -> Pixels:
    """`(s, s, 3)` or `(s, s)` after one save and one load."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    with Image.open(buffer) as saved:
        return np.asarray(saved)


def measure_coarse(luma: Floats) -> Floats:
    """`(b,)` mean change of the luminance `(b, s, s)`, saved alone, at the coarser quality."""
    grey = np.rint(luma).astype(np.uint8)
    saved = np.stack([save_again(image, COARSE) for image in grey])
    return np.asarray(np.abs(luma - saved).mean(axis=(1, 2)), np.float32)
