"""Rows of val that a person should look at, with all that is known of each.

Reads: artifacts/evaluation.parquet, artifacts/evaluate.sums.json,
    artifacts/stackers/MANIFEST.json,
    artifacts/stackers/ensemble.json, artifacts/stackers/models, artifacts/dumps, artifacts/outside,
    artifacts/forensics, artifacts/manifest/train.parquet, artifacts/manifest/val.parquet,
    artifacts/manifest/duplicates.csv, artifacts/manifest/quarantine.csv,
    artifacts/manifest/prepare.sums.json
Writes: artifacts/gallery
Params: backbones, folds.active, outside, report
"""

from features.runtime.cli import Overrides, run_stage
from features.runtime.locks import claim
from features.runtime.resume import read_resume_dir
from features.settings.report import GalleryParams
from features.settings.sections import load_params


def main(overrides: Overrides = None) -> None:
    """Choose rows of val to look at, and gather what is known of them."""
    params = load_params(GalleryParams, overrides)
    from stage2_ensemble.gallery.run import OUT, run

    with claim(OUT, read_resume_dir(overrides)):
        run(params)


if __name__ == "__main__":
    run_stage("stage2_ensemble.gallery", main)
