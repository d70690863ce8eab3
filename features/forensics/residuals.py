"""Forensic features from high-pass residuals: the picture's noise, and whether it is one noise.

A pasted, generated or smoothed region carries other noise than its surroundings.
"""

import numpy as np
import numpy.typing as npt

from features.forensics.batch import (
    TILE_COLUMNS,
    Batch,
    Floats,
    Values,
    average_tiles,
    describe_tiles,
)

_FLOOR = 0.01
_FILTERS = {
    "first": "first differences",
    "second": "second differences",
    "third": "third differences",
    "edge": "errors of predicting a pixel from five on one side",
    "square": "errors of predicting a pixel from the 8 around it",
    "kv": "errors of predicting a pixel from the 24 around it",
}
_MOMENTS = {
    "size": "log10 root mean square, grey levels",
    "shape": "mean size over root mean square (0.8: normal)",
    "quiet": "share within half a grey level of 0",
}
SRM_COLUMNS = {
    **{f"{f} {m}": f"{_FILTERS[f]}: {_MOMENTS[m]}" for f in _FILTERS for m in _MOMENTS},
    "second neighbours": "correlation of second differences with the next ones along their line",
    "square neighbours": "correlation of the square residual with the next one across",
}
"""By name, what each column is."""
NOISE_COLUMNS = {
    "level": "log10 standard deviation of the noise, grey levels (Immerkær)",
    "robust level": "the same from the median, which edges hardly move (Donoho)",
    "tails": "log10 ratio of both",
    "brightness": "correlation of noise and brightness over the tiles",
    **{f"local {name}": f"log noise by tile: {text}" for name, text in TILE_COLUMNS.items()},
}
"""By name, what each column is."""


def measure_srm(batch: Batch) -> Values:
    """Columns of `SRM_COLUMNS`: moments of the residuals of six classes of filters.

    Both directions of a class count together. Each divisor makes the residual the error of
    predicting one pixel. Source: Fridrich & Kodovsky, TIFS 2012 ("Rich models for steganalysis of
    digital images"); for forgeries Zhou et al., CVPR 2018; shape, Geary 1935.
    """
    luma = batch.luma
    second = np.diff(luma, 2, axis=2), np.diff(luma, 2, axis=1)
    residuals = {
        "first": (np.diff(luma, 1, axis=2), np.diff(luma, 1, axis=1)),
        "second": second,
        "third": (np.diff(luma, 3, axis=2), np.diff(luma, 3, axis=1)),
        "edge": (
            2 * second[0][:, 1:] - second[0][:, :-1],
            2 * second[1][:, :, 1:] - second[1][:, :, :-1],
        ),
        "square": (batch.luma_noise,),
        "kv": (filter_kv(batch.luma_noise),),
    }
    divisors = {"first": 1, "second": 2, "third": 3, "edge": 4, "square": 4, "kv": 12}
    values: dict[str, npt.NDArray[np.floating]] = {}
    for name, parts in residuals.items():
        moments = describe_residuals(parts, divisors[name])
        values.update({f"{name} {moment}": moments[moment] for moment in _MOMENTS})
    along = second[0], second[1].transpose(0, 2, 1)
    values["second neighbours"] = (correlate_next(along[0]) + correlate_next(along[1])) / 2
    values["square neighbours"] = correlate_next(batch.luma_noise)
    return values


def filter_kv(square: Floats) -> Floats:
    """The 5 x 5 filter "KV" of the paper from the 3 x 3 square residual: `(b, h - 2, w - 2)`.

    It is that residual seen through a small filter of its own, so five additions do.
    """
    diagonal = square[:, :-2, :-2] + square[:, :-2, 2:] + square[:, 2:, :-2] + square[:, 2:, 2:]
    found: Floats = diagonal + 2 * square[:, 1:-1, 1:-1]
    return found


def describe_residuals(parts: tuple[Floats, ...], divisor: int) -> Values:
    """`_MOMENTS` of residuals `(b, h, w)` of one class, pooled; flat ones have -2, 0 and 1."""
    count = sum(part[0].size for part in parts) * divisor
    sizes = [np.abs(part) for part in parts]
    power = sum(sum_products(part, part) for part in sizes)
    spread = np.sqrt(power / count / divisor)
    mean = sum(part.sum(axis=(1, 2)) for part in sizes) / count
    quiet = sum(np.count_nonzero(part < 0.5 * divisor, axis=(1, 2)) for part in sizes)
    return {
        "size": np.log10(spread + _FLOOR),
        "shape": mean / (spread + _FLOOR),
        "quiet": quiet * divisor / count,
    }


def sum_products(one: Floats, other: Floats) -> Floats:
    """`(b,)` sums over all pixels of `(b, h, w)`."""
    return np.asarray((one * other).sum(axis=(1, 2)), np.float32)


def correlate_next(residual: Floats) -> npt.NDArray[np.float64]:
    """`(b,)` correlation of residuals `(b, h, w)` with the next ones across; 0 where flat."""
    product = sum_products(residual[:, :, 1:], residual[:, :, :-1]) / residual[0, :, 1:].size
    power = sum_products(residual, residual) / residual[0].size
    return np.asarray(product / (power + _FLOOR), np.float64)


def measure_noise(batch: Batch) -> Values:
    """Columns of `NOISE_COLUMNS`.

    Sources: level, Immerkær 1996; robust level, Donoho & Johnstone 1994 (median of the finest
    diagonal wavelet); brightness, Liu et al., TPAMI 2008 (noise level functions); inconsistency,
    Mahdian & Saic 2009 and Lyu, Pan & Zhang, IJCV 2014.
    """
    level = np.abs(batch.luma_noise).mean(axis=(1, 2)) * np.sqrt(np.pi / 2) / 6
    robust = estimate_robust(batch.luma)
    logs = np.log(batch.tile_noise + 0.1)
    local = describe_tiles(logs, np.log(batch.tile_texture + 0.1))
    return {
        "level": np.log10(level + _FLOOR),
        "robust level": np.log10(robust + _FLOOR),
        "tails": np.log10((level + _FLOOR) / (robust + _FLOOR)),
        "brightness": correlate_tiles(logs, average_tiles(batch.luma)),
        **{f"local {name}": value for name, value in local.items()},
    }


def estimate_robust(luma: Floats) -> Floats:
    """`(b,)` noise from the median size of the finest diagonal Haar wavelet, grey levels."""
    even = luma.shape[1] // 2 * 2
    down = luma[:, :even:2, :even] - luma[:, 1:even:2, :even]
    diagonal = np.abs(down[:, :, ::2] - down[:, :, 1::2]) / 2
    return np.asarray(np.median(diagonal.reshape(len(luma), -1), axis=1) / 0.6745, np.float32)


def correlate_tiles(one: Floats, other: Floats) -> npt.NDArray[np.float64]:
    """`(b,)` correlation over the tiles; 0 where either is the same everywhere."""
    x, y = (a.reshape(len(a), -1) - a.mean(axis=(1, 2))[:, None] for a in (one, other))
    spread = x.std(axis=1) * y.std(axis=1)
    return np.asarray((x * y).mean(axis=1) / (spread + 1e-4), np.float64)
