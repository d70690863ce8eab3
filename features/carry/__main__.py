"""Carries a project from one session to the next, as one file: `make carry`.

Packed are `.resume/`, `.seconds/`, `artifacts/`, `data/demo/`, `params.yaml`, `dvc.lock` and, of
DVC's cache, what `dvc.lock` names. Unpacked in a fresh clone, `dvc repro` skips what is done and a
stopped training goes on. Decoded images (the store) and data other than the demo's are never
packed.
"""

from pathlib import Path
from typing import Annotated

import typer

from features.errors import ConfigError
from features.runtime.cli import run_stage


def main(
    pack: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Pack this project into a file.")
    ] = None,
    unpack: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Unpack a file into this project.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Pack or unpack over files that would be lost.")
    ] = False,
) -> None:
    """Carry .resume, artifacts, data/demo, dvc.lock, params.yaml and what dvc.lock names of DVC's
    cache to another clone, as one file. Never packed: decoded images (the store, which is made
    again) and other data."""
    if (pack is None) == (unpack is None):
        raise ConfigError("features.carry", ["say either --pack FILE or --unpack FILE"])
    if not Path("dvc.yaml").is_file():
        raise ConfigError("features.carry", [f"{Path.cwd()} is not the project's folder"])
    from features.carry.run import pack_project, unpack_project

    if pack is not None:
        pack_project(pack, replace)
    elif unpack is not None:
        unpack_project(unpack, replace)


if __name__ == "__main__":
    run_stage("features.carry", main)
