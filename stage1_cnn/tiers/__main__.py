"""What members say of train rows under `decision.tiers`: what thresholds for the web are chosen on.

Each member is asked about rows that it did not learn from, of its fold and calibration rows. Val is
not read. Without `decision.tiers` it writes an empty result.

Reads: artifacts/members, artifacts/manifest/train.parquet, images below data.root
Writes: artifacts/tiers
Params: seed, data.root, images.size, images.equalize, dump, perturb.rows, perturb.tiers,
    decision.tiers, backbones, folds.active, outside
"""

from pathlib import Path
from typing import Annotated

import typer

from features.runtime.cli import Overrides, run_stage
from features.runtime.interruption import MaxMinutes
from features.runtime.resume import read_resume_dir
from features.settings.perturb import TiersParams
from features.settings.sections import load_params


def main(
    out: Annotated[Path | None, typer.Option(help="Folder for the result.")] = None,
    max_minutes: MaxMinutes = None,
    overrides: Overrides = None,
) -> None:
    """Score damaged train pictures. Cut off, the same command goes on."""
    params, in_file = (load_params(TiersParams, given) for given in (overrides, None))
    from stage1_cnn.runtime.runs import RunLimits, resolve_out_dir
    from stage1_cnn.tiers.run import OUT, run

    folder = resolve_out_dir(out, OUT, params.select_settings(), in_file.select_settings())
    run(params, folder, RunLimits(read_resume_dir(overrides), max_minutes))


if __name__ == "__main__":
    run_stage("stage1_cnn.tiers", main)
