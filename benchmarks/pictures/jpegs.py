"""Photographs as JPEGs: grainy crops, half of them with colours of every pixel."""

from pathlib import Path

import numpy as np
from PIL import Image

SOURCE, SIZE = 512, 256
"""Pixels, a side: of a file, and of the square that it becomes."""
PHOTOS = ("astronaut", "coffee", "chelsea", "rocket")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def make_images(root: Path, count: int) -> list[str]:
    """Writes JPEGs of grainy crops of photographs; returns their names."""
    from skimage import data

    rng = np.random.default_rng(0)
    photos = [Image.fromarray(getattr(data, name)()) for name in PHOTOS]
    names = [f"{i:05d}.jpg" for i in range(count)]
    for i, name in enumerate(names):
        photo = photos[i % len(photos)]
        side = int(rng.integers(min(photo.size) // 2, min(photo.size)))
        x, y = (int(rng.integers(0, length - side + 1)) for length in photo.size)
        crop = photo.crop((x, y, x + side, y + side)).resize((SOURCE, SOURCE))
        grain = rng.normal(0, 5, (SOURCE, SOURCE, 1))
        pixels = np.clip(np.asarray(crop) + grain, 0, 255).astype(np.uint8)
        subsampling = 2 * (i % 2)
        Image.fromarray(pixels).save(root / name, quality=90, subsampling=subsampling)
    return names
