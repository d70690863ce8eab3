"""Label files or class folders, and their images, into one manifest per role.

Reads: data/demo, artifacts/inputs.json, label files and images below data.root,
    data.label_overrides
Writes: artifacts/manifest/train.parquet, artifacts/manifest/val.parquet,
    artifacts/manifest/test.parquet, artifacts/manifest/quarantine.csv,
    artifacts/manifest/duplicates.csv, artifacts/manifest/summary.json,
    artifacts/manifest/prepare.sums.json,
    artifacts/manifest/summary.md
Params: seed, data, split, folds, images.size, images.equalize, images.faces,
    images.face_count, images.face_margin
"""

from typing import Annotated

import typer

from features.runtime.cli import Overrides, run_stage
from features.runtime.cluster import open_scans
from features.runtime.locks import hold
from features.runtime.resume import read_resume_dir
from features.settings.data import PrepareParams
from features.settings.sections import load_params


def main(
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all files again and compare; write nothing.")
    ] = False,
    overrides: Overrides = None,
) -> None:
    """Turn lists and image folders into one manifest per role."""
    params = load_params(PrepareParams, overrides)
    from features.prepare.run import OUT, run
    from features.prepare.verify import verify_data

    with open_scans(overrides):
        if verify:
            verify_data(params, OUT)
            return
        with hold(OUT, read_resume_dir(overrides)):
            run(params)


if __name__ == "__main__":
    run_stage("features.prepare", main)
