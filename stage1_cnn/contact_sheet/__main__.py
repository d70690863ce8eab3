"""Draws train images beside what random changes make of them, with the label the network gets.

Or, with `--damages`, their files under each damage of the web by itself, and in each tier.

Reads: artifacts/manifest/train.parquet, images below data.root
Writes: artifacts/contact_sheets/<backbone>-<fold>.png
Params: seed, data.root, images, augment, backbones.<backbone>, perturb.tiers
"""

from pathlib import Path
from typing import Annotated

import typer

from features.runtime.cli import Overrides, run_stage
from features.settings.perturb import PerturbParams
from features.settings.sections import load_params
from features.settings.training import TrainParams


def main(
    backbone: Annotated[str, typer.Option(help="Name of an entry of `backbones`.")],
    fold: Annotated[int, typer.Option(help="Fold whose rows are left out.")] = 0,
    rows: Annotated[int, typer.Option(min=1, help="Images, half of them real.")] = 8,
    views: Annotated[int, typer.Option(min=1, help="Draws of each image.")] = 6,
    damages: Annotated[bool, typer.Option("--damages", help="Each damage by itself.")] = False,
    out: Annotated[Path | None, typer.Option(help="The PNG file to write.")] = None,
    overrides: Overrides = None,
) -> None:
    """Show what the network will see of some train images, and which label it gets."""
    params = load_params(TrainParams, overrides)
    settings = params.resolve_backbone(backbone)
    from stage1_cnn.contact_sheet.run import OUT, run

    if damages:
        from stage1_cnn.contact_sheet.damages import run_damages

        tiers = load_params(PerturbParams, overrides).perturb.tiers
        run_damages(params, tiers, fold, rows, out or OUT / f"damages-{fold}.png")
    else:
        run(params, settings, fold, rows, views, out or OUT / f"{backbone}-{fold}.png")


if __name__ == "__main__":
    run_stage("stage1_cnn.contact_sheet", main)
