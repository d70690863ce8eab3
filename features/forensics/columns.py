"""All forensic features of a batch of pictures, by name: what `features.forensics` computes."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from features.forensics import blocking, colour, dct, ela, residuals, spectrum
from features.forensics.batch import Batch, Floats, Pixels, Values


class Family(NamedTuple):
    """Columns that come from one look at the picture."""

    columns: Mapping[str, str]
    """By name, what each is, in one line."""
    measure: Callable[[Batch], Values]
    """`(b,)` values by name."""


FAMILIES = {
    "spectrum": Family(spectrum.COLUMNS, spectrum.measure_spectrum),
    "dct": Family(dct.COLUMNS, dct.measure_dct),
    "srm": Family(residuals.SRM_COLUMNS, residuals.measure_srm),
    "blocking": Family(blocking.COLUMNS, blocking.measure_blocking),
    "noise": Family(residuals.NOISE_COLUMNS, residuals.measure_noise),
    "colour": Family(colour.COLUMNS, colour.measure_colour),
    "ela": Family(ela.COLUMNS, ela.measure_ela),
}
CACHED = 1 << 17
"""Pixels that are looked at together: their planes stay in the processor's cache."""


def describe_columns() -> dict[str, str]:
    """By name, such as `noise:level`, what each column is; in the order of `measure_images`."""
    return {
        f"{family}:{name}": text
        for family, (columns, _) in FAMILIES.items()
        for name, text in columns.items()
    }


COLUMNS = tuple(describe_columns())
"""Names of all columns, in order."""


def measure_images(pixels: Pixels) -> Floats:
    """`(b, s, s, 3)` uint8 RGB, s at least 16, to `(b, c)`; every value is finite.

    Each row depends on its picture alone.
    """
    step = count_together(pixels.shape[1])
    parts = [_measure(Batch(pixels[i : i + step])) for i in range(0, len(pixels), step)]
    return np.concatenate([np.empty((0, len(COLUMNS)), np.float32), *parts])


def count_together(size: int) -> int:
    """Pictures of this side that are looked at together."""
    return max(1, CACHED // size**2)


def _measure(batch: Batch) -> Floats:
    values = []
    for columns, measure in FAMILIES.values():
        found = measure(batch)
        values += [found[name] for name in columns]
    return np.stack(values, axis=1).astype(np.float32)
