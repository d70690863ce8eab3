"""Scores of detectors that were trained elsewhere: tables are matched to rows, and checked.

Reads: artifacts/manifest/train.parquet, artifacts/manifest/val.parquet,
    artifacts/manifest/test.parquet, artifacts/outside_inputs.json, tables of scores
Writes: artifacts/outside
Params: backbones, folds.active, outside
"""

from features.runtime.cli import Overrides, run_stage
from features.runtime.locks import claim
from features.runtime.resume import read_resume_dir
from features.settings.members import MembersParams
from features.settings.sections import load_params


def main(overrides: Overrides = None) -> None:
    """Read and check the scores of all detectors from outside."""
    params = load_params(MembersParams, overrides)
    from features.outside.run import OUT, run

    with claim(OUT, read_resume_dir(overrides)):
        run(params)


if __name__ == "__main__":
    run_stage("features.outside", main)
