"""Forensic features from the Fourier spectrum: how fine detail fades, and what repeats.

Cameras leave a spectrum that falls off evenly; up-sampling in a generator, blurring and resizing
bend its end and leave peaks at whole fractions of the sampling rate.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.fft import rfft2
from scipy.sparse import csr_array

from features.forensics.batch import Batch, Floats, Values, describe_tiles

RINGS = 10
_FLOOR = 0.01
"""Grey levels squared: an eighth of the noise that rounding to whole grey levels makes."""
_PEAKS = {"checkerboard": "a half", "period 4": "a quarter"}
_REGIONS = (
    *("all", "high", "across", "down"),
    *(name for peak in _PEAKS for name in (peak, f"around {peak}")),
)
_LOCAL = ("spread", "clustering", "split")
COLUMNS = {
    **{
        f"ring {i:02d}": f"log10 power at {i / (2 * RINGS):.2f} cycles a pixel, over the mean"
        for i in range(1, RINGS + 1)
    },
    "slope": "of log power on log frequency, 0.05 to 0.45 cycles a pixel",
    "curve": "distance of the rings from that line, root mean square",
    "high ratio": "log10 power above 0.25 cycles a pixel, over the mean of all",
    "direction": "log10 ratio of fine detail across and fine detail down",
    **{
        name: f"log10 power at {part} of the sampling rate, over what is around it"
        for name, part in _PEAKS.items()
    },
    **{f"local {name}": f"fineness of detail by tile: {name}" for name in _LOCAL},
}
"""By name, what each column is."""


def measure_spectrum(batch: Batch) -> Values:
    """Columns of `COLUMNS`.

    Sources: rings, Durall, Keuper & Keuper, CVPR 2020 ("Watch your up-convolution"); slope, Field
    1987 and Dzanic, Shah & Witherden, NeurIPS 2020; peaks, Zhang, Karaman & Chang, WIFS 2019, and
    Frank et al., ICML 2020.
    """
    means = average_power(compute_spectrum(batch.luma)) + _FLOOR
    logs = np.log10(means)
    rings, others = logs[:, :RINGS], dict(zip(_REGIONS, logs[:, RINGS:].T, strict=True))
    rings = rings - others["all"][:, None]
    slope, curve = fit_line(rings[:, : RINGS - 1])
    fineness = np.log(batch.tile_noise + 0.1) - np.log(batch.tile_texture + 0.1)
    local = describe_tiles(fineness, np.log(batch.tile_texture + 0.1))
    return {
        **{f"ring {i + 1:02d}": rings[:, i] for i in range(RINGS)},
        "slope": slope,
        "curve": curve,
        "high ratio": others["high"] - others["all"],
        "direction": others["across"] - others["down"],
        **{name: others[name] - others[f"around {name}"] for name in _PEAKS},
        **{f"local {name}": local[name] for name in _LOCAL},
    }


def compute_spectrum(luma: Floats) -> Floats:
    """`(b, s, s // 2 + 1)` power; white noise of variance v has v on average.

    The window keeps the picture's edges from spreading over all frequencies.
    """
    line = np.hanning(luma.shape[1] + 1)[:-1].astype(np.float32)
    window = np.outer(line, line)
    window /= np.sqrt((window**2).sum())
    spectrum = rfft2((luma - luma.mean(axis=(1, 2), keepdims=True)) * window)
    power: Floats = spectrum.real**2 + spectrum.imag**2
    return power


def average_power(power: Floats) -> npt.NDArray[np.float64]:
    """`(b, 10 + 8)` mean power by ring, then by region of `_REGIONS`."""
    weights = _build_weights(power.shape[1])
    return np.stack([weights @ image.ravel() for image in power])


@lru_cache
def _build_weights(size: int) -> csr_array:
    """Each row averages one ring or region of a spectrum, flattened."""
    down = np.abs(np.fft.fftfreq(size))[:, None]
    across = np.fft.rfftfreq(size)[None, :]
    radius = np.hypot(down, across)
    # Half of the spectrum is not computed since it mirrors the other; its middle columns do not.
    twice = np.where((across == 0) | (across == 0.5), 1.0, 2.0) * np.ones_like(radius)
    half_width = max(0.5 / RINGS, 1.5 / size)  # small pictures have no more frequencies
    centres = np.arange(1, RINGS + 1) / (2 * RINGS)
    rings = [np.clip(1 - np.abs(radius - centre) / half_width, 0, None) for centre in centres]
    half = _near(down, across, 0.5, size)
    quarter = _near(down, across, 0.25, size)
    regions = {
        "all": radius > 0,
        "high": radius >= 0.25,
        "across": (across >= 0.25) & (down < 0.125),
        "down": (down >= 0.25) & (across < 0.125),
        "checkerboard": half,
        "around checkerboard": (np.maximum(down, across) >= 0.375) & ~half,
        "period 4": quarter,
        "around period 4": (radius >= 0.15) & (radius < 0.4) & ~quarter,
    }
    rows = [*rings, *(regions[name] for name in _REGIONS)]
    flat = np.stack([(row * twice).ravel() for row in rows])
    return csr_array(flat / flat.sum(axis=1, keepdims=True))


def _near(
    down: npt.NDArray[np.floating], across: npt.NDArray[np.floating], place: float, size: int
) -> npt.NDArray[np.bool_]:
    """Where detail of this frequency across, down or both lies; the window blurs it by a step."""
    near_down, near_across = (np.abs(f - place) < 1.5 / size for f in (down, across))
    low_down, low_across = (f < 1.5 / size for f in (down, across))
    return np.asarray(
        (near_down & near_across) | (near_down & low_across) | (low_down & near_across)
    )


def fit_line(
    rings: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Slope of log power `(b, k)` on log frequency, and the distance of the rings from the line."""
    x = np.log10(np.arange(1, rings.shape[1] + 1))
    x -= x.mean()
    centred = rings - rings.mean(axis=1, keepdims=True)
    slope = (centred * x).sum(axis=1) / (x**2).sum()
    rest = centred - slope[:, None] * x
    return slope, np.sqrt((rest**2).mean(axis=1))
