"""Forensic features from how the colour channels hang together.

A camera measures one colour at each pixel and interpolates the others, so fine detail is shared
between channels; generators and filters leave other shares.
"""

import numpy as np
import numpy.typing as npt

from features.forensics.batch import LUMA, Batch, Floats, Values

_FLOOR = 0.01
"""Grey levels squared, below which a channel is flat."""
_PAIRS = {"red-green": (0, 1), "green-blue": (1, 2), "red-blue": (0, 2)}
_TO_CHROMA = np.array(
    [[-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]]
)  # Cb and Cr from red, green and blue (JFIF)
_DARK, _BRIGHT = 5, 250
COLUMNS = {
    **{f"{pair}": f"correlation of {pair.replace('-', ' and ')}" for pair in _PAIRS},
    **{
        f"{pair} noise": f"correlation of the noise in {pair.replace('-', ' and ')}"
        for pair in _PAIRS
    },
    "chroma": "log10 standard deviation of Cb and Cr, over that of the luminance",
    "chroma noise": "the same for their noise",
    "mosaic": "how far the noise of green differs between the fields of a chessboard",
    "mean saturation": "mean of (largest - smallest) / largest channel",
    "dark": "share of pixels whose channels are all at most 5",
    "bright": "share of pixels with a channel of at least 250",
}
"""By name, what each column is."""


def measure_colour(batch: Batch) -> Values:
    """Columns of `COLUMNS`. A picture without colour has correlations of 1 and chroma of -3.

    Sources: noise of the channels, Gunturk, Altunbasak & Mersereau 2002; mosaic, Popescu & Farid
    2005 and Gallagher & Chen 2008; chroma, Li et al. 2020 ("Identification of deep network
    generated images using disparities in color components"); saturation and exposure, McCloskey &
    Albright 2019.
    """
    values: dict[str, npt.NDArray[np.floating]] = {}
    for suffix, planes in (("", batch.planes), (" noise", batch.noise)):
        covariance = compute_covariance(planes)
        for pair, (i, j) in _PAIRS.items():
            power = np.sqrt(covariance[:, i, i] * covariance[:, j, j])
            values[f"{pair}{suffix}"] = covariance[:, i, j] / (power + _FLOOR)
        chroma = np.einsum("ki,bij,kj->b", _TO_CHROMA, covariance, _TO_CHROMA)
        luma = np.einsum("i,bij,j->b", LUMA.astype(np.float64), covariance, LUMA)
        ratio = np.clip(chroma, 0, None) / (luma + _FLOOR)
        values[f"chroma{suffix}"] = np.log10(np.sqrt(ratio) + 1e-3)
    values["mosaic"] = measure_mosaic(batch.noise[:, 1])
    red, green, blue = (batch.planes[:, i] for i in range(3))
    largest = np.maximum(np.maximum(red, green), blue)
    smallest = np.minimum(np.minimum(red, green), blue)
    spread = (largest - smallest) / np.maximum(largest, 1)
    values["mean saturation"] = spread.mean(axis=(1, 2))
    values["dark"] = (largest <= _DARK).mean(axis=(1, 2))
    values["bright"] = (largest >= _BRIGHT).mean(axis=(1, 2))
    return values


def compute_covariance(planes: Floats) -> npt.NDArray[np.float64]:
    """`(b, 3, 3)` covariances of the channels of `(b, 3, h, w)`."""
    flat = planes.reshape(*planes.shape[:2], -1)
    flat = flat - flat.mean(axis=2, keepdims=True)
    found = np.empty((len(planes), 3, 3))
    for i, j in np.ndindex(3, 3):
        if i <= j:
            found[:, i, j] = found[:, j, i] = (flat[:, i] * flat[:, j]).sum(axis=1)
    found /= flat.shape[2]
    return found


def measure_mosaic(noise: Floats) -> npt.NDArray[np.float64]:
    """`(b,)` size, 0 … 1, of the part of the power of `(b, h, w)` that changes sign at each pixel.

    0.02 and less is chance at 96 pixels.
    """
    even = noise.shape[1] // 2 * 2
    power = noise[:, :even, :even] ** 2
    one = power[:, ::2, ::2].mean(axis=(1, 2)) + power[:, 1::2, 1::2].mean(axis=(1, 2))
    other = power[:, ::2, 1::2].mean(axis=(1, 2)) + power[:, 1::2, ::2].mean(axis=(1, 2))
    return np.asarray(np.abs(one - other) / (one + other + _FLOOR), np.float64)
