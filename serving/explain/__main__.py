"""The evidence sheet of one picture.

Reads: a bundle, and a picture
Writes: the HTML file that `--out` names
Params: none
"""

from pathlib import Path
from typing import Annotated

import typer

from features.runtime.cli import run_stage
from serving.format.options import AssumedShare


def main(
    picture: Annotated[Path, typer.Argument(help="File of the picture.")],
    bundle: Annotated[Path, typer.Option("--bundle", "-b", help="Folder of the bundle.")] = Path(
        "ensemble"
    ),
    out: Annotated[Path, typer.Option("--out", "-o", help="HTML file of the sheet.")] = Path(
        "sheet.html"
    ),
    prior: AssumedShare = None,
) -> None:
    """Write a page of evidence about one picture: score, stability, maps, marks of origin."""
    from serving.explain.run import run

    run(picture, bundle, out, prior)


if __name__ == "__main__":
    run_stage("serving.explain", main)
