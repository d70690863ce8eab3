"""Where two bundles disagree about the same pictures.

Reads: two bundles; files, folders, tar archives, Parquet tables and videos; a list of labels
Writes: nothing
Params: none
"""

from pathlib import Path
from typing import Annotated

import typer

from features.runtime.cli import run_stage


def main(
    first: Annotated[Path, typer.Argument(metavar="A", help="Folder of a bundle.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Folder of another one.")],
    paths: Annotated[list[str], typer.Argument(help="Files, folders, .tar, .parquet, videos.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="CSV with img_name,target (1 = fake, 0 = real): who is right?"),
    ] = None,
    shown: Annotated[int, typer.Option(min=0, help="Pictures that are told one by one.")] = 10,
) -> None:
    """Compare two bundles: labels that flip, the largest differences, and who is right."""
    from serving.diff.run import run

    run(first, second, tuple(paths), labels, shown)


if __name__ == "__main__":
    run_stage("serving.diff", main, says_document=True)
