"""Files as they come back from the web: the tiers that robust AUC is the mean over.

stores = open_tier(val, Path("data"), Images(size=96), Tier(side=768, jpeg=60))
squares = stores.open("square", 96).gather(row_ids)
"""

from functools import partial
from pathlib import Path

import numpy as np

from features.core.manifest import Manifest
from features.crops.crop_store import MemberStores
from features.pixels.store import FileChange
from features.settings.images import Images
from features.settings.perturb import Tier
from stage1_cnn.damage import steps
from stage1_cnn.damage.steps import Pixels


def damage_file(tier: Tier, sha256: str, pixels: Pixels) -> Pixels:
    """Uint8 `(h, w, 3)` made smaller, noisy, saved as JPEG: as far as `tier` says so.

    Noise follows from the file's `sha256`: the same in every run, whatever lies beside it.
    """
    if tier.side is not None:
        pixels = steps.limit_side(pixels, tier.side)
    if tier.noise:
        pixels = steps.add_grain(pixels, tier.noise, np.random.default_rng(int(sha256[:16], 16)))
    return pixels if tier.jpeg is None else steps.save_jpeg(pixels, tier.jpeg)


def open_tier(manifest: Manifest, root: Path, images: Images, tier: Tier) -> MemberStores:
    """The manifest's images under `tier`: files are damaged, then become what members see."""
    return MemberStores(manifest, root, images, FileChange(partial(damage_file, tier), tier.side))
