"""What the families share: planes, noise, tiles, and how tiles are compared."""

import numpy as np
import pytest
from forensic_pictures import take_photos
from PIL import Image
from scipy.ndimage import convolve

from features.forensics.batch import (
    TILE_COLUMNS,
    Batch,
    average_tiles,
    describe_tiles,
    remove_line,
    split_in_two,
)


def test_luminance_is_pillows() -> None:
    pixels = take_photos(64)
    wanted = np.stack([np.asarray(Image.fromarray(p).convert("L")) for p in pixels])
    np.testing.assert_allclose(Batch(pixels).luma, wanted, atol=0.51)


def test_noise_is_the_square_filter() -> None:
    batch = Batch(take_photos(48))
    kernel = np.outer([1, -2, 1], [1, -2, 1])
    wanted = convolve(batch.luma, kernel[None].astype(np.float32))[:, 1:-1, 1:-1]
    np.testing.assert_allclose(batch.luma_noise, wanted, atol=1e-2)


@pytest.mark.parametrize("shape", [(14, 14), (64, 64), (93, 96), (255, 254)])
def test_tiles_hold_every_pixel(shape: tuple[int, int]) -> None:
    maps = np.random.default_rng(0).random((2, *shape)).astype(np.float32)
    rows, columns = (np.linspace(0, n, 9).astype(int) for n in shape)
    found = average_tiles(maps)
    for i, j in ((0, 0), (3, 5), (7, 7)):
        tile = maps[:, rows[i] : rows[i + 1], columns[j] : columns[j + 1]]
        np.testing.assert_allclose(found[:, i, j], tile.mean(axis=(1, 2)), rtol=1e-5)


def make_tiles(kind: str) -> np.ndarray:
    rng = np.random.default_rng(3)
    levels = rng.normal(0, 0.1, (8, 8))
    if kind == "region":
        levels[2:6, 2:6] += 1
    elif kind == "scattered":
        levels.ravel()[rng.permutation(64)[:16]] += 1
    return levels[None].astype(np.float32)


def test_a_region_is_told_from_scattered_tiles_and_from_nothing() -> None:
    texture = np.zeros((1, 8, 8), np.float32)
    found = {
        kind: describe_tiles(make_tiles(kind), texture)
        for kind in ("even", "scattered", "region")
    }  # fmt: skip
    for values in found.values():
        assert set(values) == set(TILE_COLUMNS)
    assert found["region"]["spread"][0] == pytest.approx(0.44, abs=0.05)
    assert found["even"]["spread"][0] < 0.15
    assert found["region"]["clustering"][0] > 0.5
    assert abs(found["scattered"]["clustering"][0]) < 0.25
    assert found["region"]["split"][0] > 0.9 > found["even"]["split"][0]


def test_what_texture_explains_does_not_count() -> None:
    texture = np.random.default_rng(0).normal(0, 1, (1, 8, 8)).astype(np.float32)
    found = describe_tiles(0.7 * texture + 2, texture)
    assert found["spread"][0] > 0.5
    assert found["beyond texture"][0] < 1e-3
    rest = remove_line(texture.reshape(1, -1), np.ones((1, 64)))
    np.testing.assert_allclose(rest, (texture - texture.mean()).reshape(1, -1), atol=1e-6)


def test_the_best_cut_is_that_of_all_cuts() -> None:
    values = np.random.default_rng(0).normal(0, 1, (3, 20))
    for row, found in zip(np.sort(values), split_in_two(values), strict=True):
        cuts = [
            k * (20 - k) / 400 * (row[:k].mean() - row[k:].mean()) ** 2 for k in range(4, 17)
        ]  # fmt: skip
        assert found == pytest.approx(max(cuts))
