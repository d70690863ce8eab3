"""Trains all members that DVC does not find up to date side by side, one on each GPU, and keeps
them for DVC: `dvc repro` goes on behind them. It changes no result.

    python -m stage1_cnn.train_all --devices cuda:0,cuda:1
"""

from typing import Annotated

import typer

from features.inputs.settings import check_all_params
from features.runtime.cli import run_stage
from features.runtime.interruption import MaxMinutes
from features.settings.sections import read_yaml


def main(
    devices: Annotated[
        str | None,
        typer.Option(help="Such as cuda:0,cuda:1. Default: all CUDA cards, or the CPU."),
    ] = None,
    backbone: Annotated[
        list[str] | None, typer.Option(help="Only members of this one; may be repeated.")
    ] = None,
    max_minutes: MaxMinutes = None,
) -> None:
    """Train all members that are not up to date, one on each GPU, and keep them for DVC. Cut off,
    the same command goes on."""
    from stage1_cnn.train_all.dvc_stages import check_dvc

    check_dvc()
    params = check_all_params(read_yaml())
    from stage1_cnn.train_all.plan import choose_devices, choose_members
    from stage1_cnn.train_all.run import run

    run(params, choose_members(params, backbone), choose_devices(devices), max_minutes)


if __name__ == "__main__":
    run_stage("stage1_cnn.train_all", main)
