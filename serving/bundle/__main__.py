"""A finished project's ensemble as one folder that labels pictures anywhere.

Reads: artifacts/stackers, artifacts/members, artifacts/dumps, artifacts/manifest, pictures of val
Writes: the folder that `--out` names
Params: data, images, dump, backbones, folds.active
"""

from pathlib import Path
from typing import Annotated

import typer

from features.runtime.cli import Overrides, run_stage
from features.settings.sections import load_params
from serving.bundle.settings import BundleParams


def main(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle.")] = Path(
        "ensemble"
    ),
    samples: Annotated[
        int,
        typer.Option(min=0, help="Pictures of val that travel along, to check with. 0: none."),
    ] = 4,
    neighbours: Annotated[
        int,
        typer.Option(min=0, max=2000, help="Pictures of train, half of each class, that travel "
                     "along as thumbnails with their names: evidence sheets show the nearest. "
                     "None unless asked for, since whoever has the bundle sees them."),
    ] = 0,
    overrides: Overrides = None,
) -> None:  # fmt: skip
    """Gather networks, second stage, rules and settings of this project into one folder."""
    params = load_params(BundleParams, overrides)
    from serving.bundle.run import run

    run(params, out, samples, neighbours)


if __name__ == "__main__":
    run_stage("serving.bundle", main)
