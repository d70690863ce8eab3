"""One self-contained page (answers, figures, pictures of val to look through), and a model card.

Reads: artifacts/metrics.json, artifacts/plots, artifacts/evaluate.sums.json,
    artifacts/stackers/MANIFEST.json,
    artifacts/stackers/ensemble.json, artifacts/stackers/models, artifacts/gallery,
    artifacts/gradcam, artifacts/manifest/val.parquet, artifacts/manifest/summary.json,
    artifacts/manifest/prepare.sums.json,
    artifacts/labels.csv, images below data.root
Writes: artifacts/report.html, artifacts/stackers/MODEL_CARD.md
Params: backbones, folds.active, outside, data, images.size, images.mode, images.equalize
"""

from features.runtime.cli import Overrides, run_stage
from features.runtime.locks import claim
from features.runtime.resume import read_resume_dir
from features.settings.report import ReportParams
from features.settings.sections import load_params


def main(overrides: Overrides = None) -> None:
    """Make one page of all results, and end with a short table."""
    params = load_params(ReportParams, overrides)
    from stage2_ensemble.report.run import OUT, run

    with claim(OUT / "report.html", read_resume_dir(overrides)):
        run(params)


if __name__ == "__main__":
    run_stage("stage2_ensemble.report", main)
