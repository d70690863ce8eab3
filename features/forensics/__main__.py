"""What the pixels of each image say about its history: spectrum, noise, block grid, colours.

Reads: artifacts/manifest/train.parquet, artifacts/manifest/val.parquet,
    artifacts/manifest/test.parquet, images below data.root
Writes: artifacts/forensics
Params: data.root, images.size, images.equalize

Pixels are the squares of `images.size` that networks see. Files of that size keep every trace.
Where others are resized, neighbours are averaged: the finest detail and most noise are gone, the
grid of 8 x 8 blocks gets another period (at half the size `blocking:grid of 4` still finds it, at
odd ratios `blocking:period` at best), and error levels forget earlier savings. What compares places
of one picture (`local`) survives best. The files themselves would show more of the grid, but so by
their size and quality: facts that are the null model's, and that `images.equalize` has to take away
here as well as from the networks. They would also have to be decoded once more, at any size.
"""

from features.forensics.settings import ForensicParams
from features.runtime.cli import Overrides, run_stage
from features.runtime.cluster import open_scans
from features.runtime.resume import read_resume_dir
from features.settings.sections import load_params


def main(overrides: Overrides = None) -> None:
    """Compute the forensic features of all images. Cut off, the same command goes on."""
    params = load_params(ForensicParams, overrides)
    from features.forensics.run import run

    with open_scans(overrides):
        run(params, read_resume_dir(overrides))


if __name__ == "__main__":
    run_stage("features.forensics", main)
