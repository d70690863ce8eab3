"""Prints the tables of val metrics and the place of the final labels. No stage: it writes nothing.

Reads: artifacts/metrics.json, artifacts/evaluate.sums.json, artifacts/labels.csv,
    artifacts/stackers/MANIFEST.json, artifacts/stackers/ensemble.json, .seconds
"""

from features.runtime.cli import run_stage


def main() -> None:
    """Show the metrics on val and where the final labels are; --quiet shows a few lines."""
    from stage2_ensemble.summary.run import run

    run()


if __name__ == "__main__":
    run_stage("stage2_ensemble.summary", main, says_document=True)
