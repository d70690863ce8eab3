"""Forensic features from the grid of 8 x 8 blocks that JPEG leaves, and from other periods.

Steps between neighbouring pixels are larger on the borders of blocks. A crop shifts the grid, a
paste breaks it, resizing gives it another period and adds one of its own.
"""

import numpy as np
import numpy.typing as npt
from scipy.fft import rfft

from features.forensics.batch import Batch, Floats, Values, average_tiles

SIDE = 8
_FLOOR = 0.05
"""Grey levels: steps below it are alike."""
COLUMNS = {
    "grid": "log step on the borders of 8 x 8 blocks, over the median of the eight places",
    "shifted grid": "the same for whichever of the eight places has the largest step",
    "grid of 4": "log ratio of the largest and the smallest of four places",
    "grid of 2": "log ratio of steps at even and at odd places, without its sign",
    "grid spread": "standard deviation over 16 tiles of the log step on the borders, over all",
    "period": "log10 of the strongest period of the steps, over the median of all periods",
    "zero crossings": "share of neighbouring steps of opposite sign",
}
"""By name, what each column is."""


def measure_blocking(batch: Batch) -> Values:
    """Columns of `COLUMNS`: means over both directions.

    Steps are third differences, which smooth shading leaves at 0. Sources: grid, Fan & de Queiroz
    2003 and Wang, Sheikh & Bovik 2002 (zero crossings too); shifted, Bianchi & Piva 2012; broken,
    Li, Yuan & Yu 2009; periods of resizing, Gallagher 2005 and Mahdian & Saic 2008.
    """
    luma = batch.luma
    found = [describe_steps(luma), describe_steps(np.ascontiguousarray(luma.transpose(0, 2, 1)))]
    return {name: (found[0][name] + found[1][name]) / 2 for name in COLUMNS}


def describe_steps(luma: Floats) -> Values:
    """`COLUMNS` of the steps across, from luminance `(b, s, s)`."""
    steps = np.abs(np.diff(luma, 3, axis=2))  # the first one lies between the pixels 1 and 2
    profile = steps.mean(axis=1)
    profile = np.concatenate([profile[:, :1], profile], axis=1)
    places = np.log(fold_profile(profile, SIDE) + _FLOOR)
    middle = np.median(places, axis=1)
    of_four = np.log(fold_profile(profile, 4) + _FLOOR)
    of_two = np.log(fold_profile(profile, 2) + _FLOOR)
    return {
        "grid": places[:, SIDE - 1] - middle,
        "shifted grid": places.max(axis=1) - middle,
        "grid of 4": of_four.max(axis=1) - of_four.min(axis=1),
        "grid of 2": np.abs(of_two[:, 0] - of_two[:, 1]),
        "grid spread": measure_grid_spread(steps),
        "period": find_period(profile),
        "zero crossings": count_crossings(luma),
    }


def fold_profile(profile: Floats, period: int) -> Floats:
    """`(b, n)` to means `(b, period)` of the places that are a whole number of periods apart."""
    whole = profile.shape[1] // period * period
    folded: Floats = profile[:, :whole].reshape(len(profile), -1, period).mean(axis=1)
    return folded


def measure_grid_spread(steps: Floats) -> npt.NDArray[np.float64]:
    """`(b,)`: whether the grid is equally strong all over; 0 for pictures of one block a tile."""
    borders = steps[:, :, SIDE - 2 :: SIDE]
    tiles = min(4, borders.shape[2])
    local = np.log(average_tiles(borders, tiles) + _FLOOR)
    local -= np.log(average_tiles(steps, tiles) + _FLOOR)
    return np.asarray(local.std(axis=(1, 2)), np.float64)


def find_period(profile: Floats) -> npt.NDArray[np.float64]:
    """`(b,)` log10 of the strongest period of `(b, n)` up to 10 pixels, over the median of all."""
    n = profile.shape[1]
    centred = (profile - profile.mean(axis=1, keepdims=True)) * np.hanning(n + 1)[:-1]
    power = np.abs(rfft(centred, axis=1)[:, n // 10 + 1 :]) ** 2 / n
    floor = 1e-4
    return np.asarray(np.log10((power.max(axis=1) + floor) / (np.median(power, axis=1) + floor)))


def count_crossings(luma: Floats) -> npt.NDArray[np.float64]:
    """`(b,)` share of neighbouring first differences that have opposite signs."""
    steps = np.diff(luma, axis=2)
    crossings = np.count_nonzero(steps[:, :, 1:] * steps[:, :, :-1] < 0, axis=(1, 2))
    return np.asarray(crossings / steps[0, :, 1:].size)
