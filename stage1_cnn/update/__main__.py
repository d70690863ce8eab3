"""Fits the heads of frozen encoders with and without the pictures of one generator or source, and
says what these give on themselves and cost on all others.

No stage, and nothing is trained: a head takes seconds, and embeddings are computed once for each
picture. Judged fold by fold on rows that neither head knows; never on val. `dvc repro` then makes
the members.

Reads: artifacts/manifest/train.parquet, images below data.root, weights
Writes: artifacts/update/update.csv, and embeddings below images.store_dir
Params: seed, data.root, images, weights, backbones, sampling
"""

from pathlib import Path
from typing import Annotated

import typer

from features.errors import ConfigError
from features.runtime.cli import Overrides, run_stage
from features.runtime.interruption import MaxMinutes
from features.settings.sections import load_params
from features.settings.training import TrainParams

OUT = Path("artifacts/update")


def main(
    generator: Annotated[
        str | None, typer.Option(help="The new one, as the list names it.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Or a new source, of reals and fakes.")] = None,
    backbone: Annotated[
        list[str] | None, typer.Option(help="Only this frozen one; may be repeated.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the table.")] = OUT,
    max_minutes: MaxMinutes = None,
    overrides: Overrides = None,
) -> None:
    """Say what the pictures of a new generator or source give frozen encoders, and cost them."""
    params = load_params(TrainParams, overrides)
    if (generator is None) == (source is None):
        raise ConfigError("options", ["name one of --generator and --source"])
    from stage1_cnn.update.run import Domain, run

    column, value = ("source", source) if generator is None else ("generator", generator)
    run(params, Domain(column, str(value)), backbone, out, max_minutes)


if __name__ == "__main__":
    run_stage("stage1_cnn.update", main)
