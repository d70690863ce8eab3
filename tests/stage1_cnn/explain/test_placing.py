"""Which square is explained, and where its map lies in the picture."""

import numpy as np
import torch
from torch import nn

from features.caching.shard_files import ShardFiles
from features.crops.crop_store import FittedStore, GridStore
from features.crops.picture_store import RawPictures
from stage1_cnn.explain.placing import choose_corners, place_maps


def test_a_map_lies_where_its_square_was():
    maps = torch.ones(2, 1, 4, 4)
    sizes, corners = np.array([[80, 160]] * 2, np.int32), np.array([[40, 0], [20, 120]], np.int32)
    found = place_maps(maps, sizes, corners, 40, 16)[:, 0]
    lit = [np.argwhere(found[i].numpy() > 0.5) for i in (0, 1)]
    assert [(part.min(0).tolist(), part.max(0).tolist()) for part in lit] == [
        ([8, 0], [15, 3]),
        ([4, 12], [11, 15]),
    ]


def test_what_was_mirrored_beyond_the_border_is_cut_off():
    maps = torch.arange(4.0).expand(1, 1, 4, 4)  # brighter to the right
    found = place_maps(maps, np.array([[40, 20]]), np.array([[0, -10]]), 40, 8)
    np.testing.assert_allclose(found[0, 0, 4].numpy(), np.linspace(0.5, 2.5, 17)[1::2], atol=1e-6)


class Brightness(nn.Module):
    def forward(self, pixels):
        return pixels.float().mean(dim=(1, 2, 3))


def test_the_square_that_speaks_loudest_is_explained(tmp_path):
    pixels = np.zeros((2, 60, 60, 3), np.uint8)
    pixels[0, 40:, 40:] = 255
    pixels[1, :20, 20:40] = 255
    files = ShardFiles(tmp_path, "pictures")
    pixels.tofile(files.locate(0).path)
    places, sizes = np.array([0, pixels[0].nbytes]), np.full((2, 2), 60, np.int32)
    pictures = RawPictures(files, places, sizes)
    how = (Brightness(), torch.from_numpy)
    rows = np.array([1, 0])
    assert choose_corners(*how, GridStore(pictures, 20, 9), rows).tolist() == [[0, 20], [40, 40]]
    assert choose_corners(*how, FittedStore(pictures, 20), rows).tolist() == [[20, 20]] * 2
