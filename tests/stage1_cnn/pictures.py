"""Pictures for tests of augmentation: smooth colours with some texture."""

import numpy as np
import torch


def make_pictures(count, side, seed=0):
    """Uint8 `(count, side, side, 3)`."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    waves = rng.uniform(2, 25, (4, count, 1, 1, 3))
    pictures = 128 + 60 * np.sin(waves[0] * x[..., None] + waves[1] * y[..., None])
    pictures += 40 * np.cos(waves[2] * x[..., None] - waves[3] * y[..., None])
    pictures += rng.normal(0, 8, pictures.shape)
    return torch.from_numpy(np.clip(pictures, 0, 255).astype(np.uint8))
