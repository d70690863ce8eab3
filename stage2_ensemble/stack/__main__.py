"""Fits the second stage on rows that no member learned from, and chooses what ships.

Reads: artifacts/manifest/train.parquet, artifacts/manifest/test.parquet, artifacts/dumps,
    artifacts/outside, artifacts/forensics, artifacts/tiers
Writes: artifacts/stackers/MANIFEST.json, artifacts/stackers/ensemble.json,
    artifacts/stackers/models
Params: seed, folds.active, backbones, outside, stack, gate, decision, label
"""

from features.runtime.cli import Overrides, run_stage
from features.runtime.cluster import open_workers
from features.runtime.locks import claim
from features.runtime.resume import read_resume_dir
from features.settings.sections import load_params
from features.settings.stacking import StackParams


def main(overrides: Overrides = None) -> None:
    """Fit the stackers and combiners, and choose what ships."""
    params = load_params(StackParams, overrides)
    from stage2_ensemble.stack.run import OUT, run

    workers = open_workers(params.stack.engine, overrides, params.stack.dask_workers)
    with claim(OUT, read_resume_dir(overrides)), workers:
        run(params)


if __name__ == "__main__":
    run_stage("stage2_ensemble.stack", main)
