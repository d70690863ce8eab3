"""Which square of a picture is explained, and where its map lies in the whole of it."""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from features.core.manifest import Ids
from features.crops.crop_store import FittedStore, GridStore
from features.crops.places import Corners, Sizes, centre_corners
from stage1_cnn.explain.feature_maps import MappedNetwork
from stage1_cnn.networks.normalise import Normaliser


def choose_corners(
    mapped: MappedNetwork, normalise: Normaliser, store: FittedStore, row_ids: Ids
) -> Corners:
    """`(b, 2)` corners of the square of each row that is explained: of several the one that speaks
    loudest for fake.
    """
    if not isinstance(store, GridStore):
        return centre_corners(store.pictures.sizes[row_ids], store.size)
    grid = store.list_squares(row_ids)
    chosen, start = [], 0
    for count in grid.counts.tolist():
        squares = slice(start, start + count)
        pixels = store.cut(grid.row_ids[squares], grid.corners[squares])
        with torch.no_grad():
            chosen.append(start + int(mapped(normalise(pixels)).argmax()))
        start += count
    return grid.corners[chosen]


def place_maps(maps: Tensor, sizes: Sizes, corners: Corners, side: int, places: int) -> Tensor:
    """Maps `(b, 1, h, w)` of squares of `side` pixels as `(b, 1, places, places)` of the pictures.

    A picture, of `sizes`, is stretched to a square; where its own square was not there is 0.
    """
    shares = (torch.arange(places, dtype=torch.float64) + 0.5) / places
    lengths, starts = torch.from_numpy(sizes).double(), torch.from_numpy(corners).double()
    # Lines and columns of each result, -1 … 1 from border to border of its square.
    inside = 2 * (lengths[:, :, None] * shares - starts[:, :, None]) / side - 1
    y, x = inside.to(maps.device, maps.dtype).unbind(1)
    grid = torch.stack(
        [x[:, None, :].expand(-1, places, -1), y[:, :, None].expand(-1, -1, places)], dim=3
    )
    is_inside = (grid.abs() <= 1).all(dim=3)[:, None]
    return grid_sample(maps, grid, "bilinear", "border", align_corners=False) * is_inside
