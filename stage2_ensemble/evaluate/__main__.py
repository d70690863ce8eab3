"""Measures members, combiners and what ships on val; nothing is fitted or chosen here.

Without val (`data.final`) it says so, and quotes the last run that had one: its metrics are kept in
`held_out_metrics.json`, which DVC does not delete before a run.

Reads: artifacts/stackers/MANIFEST.json, artifacts/stackers/ensemble.json,
    artifacts/stackers/models, artifacts/dumps, artifacts/outside, artifacts/forensics,
    artifacts/manifest/train.parquet, artifacts/manifest/val.parquet, artifacts/null_model,
    artifacts/members, artifacts/perturbed, .seconds
Writes: artifacts/metrics.json, artifacts/held_out_metrics.json, artifacts/evaluation.parquet,
    artifacts/plots, artifacts/evaluate.sums.json
Params: backbones, folds.active, outside
"""

from features.runtime.cli import Overrides, run_stage
from features.runtime.locks import claim
from features.runtime.resume import read_resume_dir
from features.settings.members import MembersParams
from features.settings.sections import load_params


def main(overrides: Overrides = None) -> None:
    """Measure everything on val."""
    params = load_params(MembersParams, overrides)
    from stage2_ensemble.evaluate.run import OUT, run

    with claim(OUT / "metrics.json", read_resume_dir(overrides)):
        run(params)


if __name__ == "__main__":
    run_stage("stage2_ensemble.evaluate", main)
