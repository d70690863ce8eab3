"""A small image task for the networks, as a fixture."""

import numpy as np
import pytest
from small_task import keep_pixels, make_pixels, make_table

from features.core.manifest import write_manifest


@pytest.fixture(scope="session")
def task(tmp_path_factory):
    """`(manifest, store)`: 160 train rows, 1 real to 4 fakes, in 4 folds."""
    folder = tmp_path_factory.mktemp("task")
    labels = np.array([0, 1, 1, 1, 1] * 32, dtype=np.int8)
    folds = np.repeat(np.arange(4), 40).astype(np.int16)
    manifest = write_manifest(make_table(labels, folds), "train", folder / "train.parquet")
    return manifest, keep_pixels(folder / "images.bin", make_pixels(labels))
