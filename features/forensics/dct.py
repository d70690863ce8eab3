"""Forensic features from the cosine transform of 8 x 8 blocks, in which JPEG rounds.

A saved file leaves coefficients at whole multiples of its steps; a generator or a filter leaves
other shares of fine coefficients, and other tails, than a camera.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.fft import dctn, rfft

from features.forensics.batch import Batch, Floats, Values

SIDE = 8
_FLOOR = 0.01
_BANDS = {"1": (1, 1), "2": (2, 2), "3": (3, 3), "4": (4, 4), "5-6": (5, 6), "7-8": (7, 8),
          "9-10": (9, 10), "11-14": (11, 14)}  # fmt: skip
_GROUPS = {"low": (1, 2), "middle": (3, 6), "high": (7, 14)}
"""By name, the coefficients u, v with u + v in a range."""
_LARGEST = 1023
"""A coefficient of a block is at most 8 * 128 from the middle grey."""
_PERIODS = 64
"""Values that the histogram of a coefficient is folded to: steps up to 16 fit several times."""
COLUMNS = {
    **{
        f"band {name}": f"log10 power of coefficients u + v = {name}, over the mean of all"
        for name in _BANDS
    },
    **{
        f"shape {name}": f"{name} coefficients: mean size over root mean square (0.8: normal, "
        "0.7: Laplace)"
        for name in _GROUPS
    },
    **{
        f"zeros {name}": f"{name} coefficients: share within half a grey level of 0"
        for name in _GROUPS
    },
    "first digits": "distance of the coefficients' first digits from Benford's law, chi-square",
    "comb": "how far the histograms of low coefficients look like a comb of JPEG steps, log10",
}
"""By name, what each column is."""


def measure_dct(batch: Batch) -> Values:
    """Columns of `COLUMNS`.

    Sources: bands, Frank et al., ICML 2020; shape, Lam & Goodman 2000 (Laplacian coefficients),
    with the ratio of Geary 1935; first digits, Fu, Shi & Su 2007; comb, Popescu & Farid 2004.
    """
    coefficients = transform_blocks(batch.luma)
    sizes = np.abs(coefficients)
    whole = np.rint(sizes).astype(np.int32)
    power = (sizes * sizes).mean(axis=2)
    total = power[:, 1:].mean(axis=1) + _FLOOR
    size, zeros = sizes.mean(axis=2), (whole == 0).mean(axis=2)
    values: dict[str, npt.NDArray[np.floating]] = {}
    for name, orders in _BANDS.items():
        inside = find_coefficients(*orders)
        values[f"band {name}"] = np.log10((average(power, inside) + _FLOOR) / total)
    for name, orders in _GROUPS.items():
        inside = find_coefficients(*orders)
        spread = np.sqrt(average(power, inside)) + _FLOOR
        values[f"shape {name}"] = average(size, inside) / spread
        values[f"zeros {name}"] = average(zeros, inside)
    values["first digits"] = compare_first_digits(whole[:, 1:])
    values["comb"] = find_comb(np.take(coefficients, find_coefficients(1, 3), axis=1))
    return values


def average(
    values: npt.NDArray[np.floating], places: npt.NDArray[np.int64]
) -> npt.NDArray[np.floating]:
    """`(b,)` means over places of `(b, 64)`."""
    # Indexing would turn the memory around, and with it the order of the sum.
    return np.asarray(np.take(values, places, axis=1).mean(axis=1))


def transform_blocks(luma: Floats) -> Floats:
    """`(b, s, s)` to coefficients `(b, 64, blocks)` of the blocks from the upper left corner."""
    n = luma.shape[1] // SIDE
    cut = luma[:, : n * SIDE, : n * SIDE] - 128
    blocks = cut.reshape(-1, n, SIDE, n, SIDE).transpose(0, 1, 3, 2, 4)
    found = dctn(np.ascontiguousarray(blocks), axes=(3, 4), norm="ortho", overwrite_x=True)
    return np.ascontiguousarray(found.reshape(len(luma), n * n, SIDE**2).transpose(0, 2, 1))


@lru_cache
def find_coefficients(first: int, last: int) -> npt.NDArray[np.int64]:
    """Places among the 64 of coefficients u, v with u + v from `first` to `last`."""
    orders = np.add.outer(np.arange(SIDE), np.arange(SIDE)).ravel()
    return np.flatnonzero((orders >= first) & (orders <= last))


def compare_first_digits(sizes: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """`(b,)` chi-square between the first digits of whole sizes and Benford's law; 0 is left out.

    A picture without any other coefficient has 0.
    """
    counts = count_values(np.minimum(sizes.reshape(len(sizes), -1), _LARGEST), _LARGEST + 1)
    digits = np.array([int(str(value)[0]) for value in range(_LARGEST + 1)])
    found = np.stack([counts[:, digits == digit].sum(axis=1) for digit in range(1, 10)], axis=1)
    law = np.log10(1 + 1 / np.arange(1, 10))
    total = found.sum(axis=1, keepdims=True)
    shares = np.where(total > 0, found / np.maximum(total, 1), law)
    return np.asarray(((shares - law) ** 2 / law).sum(axis=1))


def count_values(values: npt.NDArray[np.int32], limit: int) -> npt.NDArray[np.int64]:
    """`(b, limit)` histograms of values `(b, n)` in 0 … limit - 1."""
    return np.stack([np.bincount(row, minlength=limit) for row in values])


def find_comb(coefficients: Floats) -> npt.NDArray[np.float64]:
    """`(b,)` log10 of the strongest period of the histograms of `(b, k, blocks)` coefficients.

    Over the median period, averaged over the k coefficients. Periods are 64/5 to 2 grey levels:
    the characteristic function of rounded values.
    """
    b, k, blocks = coefficients.shape
    folded = np.rint(coefficients).astype(np.int32) % _PERIODS
    folded += _PERIODS * np.arange(k, dtype=np.int32)[:, None]
    counts = count_values(folded.reshape(b, -1), _PERIODS * k).reshape(b, k, _PERIODS)
    strength = np.abs(rfft(counts.astype(np.float64), axis=2))[:, :, 5:]
    floor = 0.5 * np.sqrt(blocks)  # what chance alone makes
    peaks = (strength.max(axis=2) + floor) / (np.median(strength, axis=2) + floor)
    return np.asarray(np.log10(peaks).mean(axis=1))
