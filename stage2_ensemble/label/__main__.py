"""Final labels: every row of the test list exactly once, in its order; and its units.

Reads: artifacts/stackers/MANIFEST.json, artifacts/stackers/ensemble.json,
    artifacts/stackers/models, artifacts/dumps, artifacts/outside, artifacts/forensics,
    artifacts/manifest/test.parquet
Writes: artifacts/labels.csv, artifacts/prediction.txt, artifacts/unit_labels.csv
Params: backbones, folds.active, outside
"""

from features.runtime.cli import Overrides, run_stage
from features.runtime.locks import claim
from features.runtime.resume import read_resume_dir
from features.settings.members import MembersParams
from features.settings.sections import load_params


def main(overrides: Overrides = None) -> None:
    """Write the final labels of the test rows."""
    params = load_params(MembersParams, overrides)
    from stage2_ensemble.label.run import OUT, run

    with claim(OUT / "labels.csv", read_resume_dir(overrides)):
        run(params)


if __name__ == "__main__":
    run_stage("stage2_ensemble.label", main)
