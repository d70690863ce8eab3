"""A bundle's answer about any pictures.

Reads: a bundle; files, folders, tar archives, Parquet tables and videos
Writes: the file that `--out` names
Params: none
"""

from pathlib import Path
from typing import Annotated

import typer

from features.runtime.cli import run_stage
from serving.format.options import AssumedShare


def main(
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders, .tar, .parquet, videos; - reads names from stdin."),
    ] = None,
    bundle: Annotated[Path, typer.Option("--bundle", "-b", help="Folder of the bundle.")] = Path(
        "ensemble"
    ),
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="CSV of all rows; cut off, the same command goes on."),
    ] = None,
    list_file: Annotated[
        Path | None, typer.Option("--list", help="Text file with a path on each line.")
    ] = None,
    members: Annotated[
        bool, typer.Option("--members", help="Log-odds of each network, too: all of them run.")
    ] = False,
    max_loss: Annotated[
        float | None,
        typer.Option(min=0, help="Faster: slow networks see only what fast ones are unsure of. How "
                     "much AUC and balanced accuracy that may cost at most, such as 0.005."),
    ] = None,
    prior: AssumedShare = None,
    submission: Annotated[
        Path | None,
        typer.Option(help="A CSV whose img_name column says which pictures, in which order: "
                     "--out then holds img_name,y_pred alone."),
    ] = None,
) -> None:  # fmt: skip
    """Label pictures: real, fake or review, with the probability of being fake.

    With --json, rows are JSON, one object a line: on the terminal, or in --out.
    """
    from serving.label.run import LabelTask, run

    run(LabelTask(tuple(paths or ()), bundle, out, list_file, members, submission, max_loss, prior))


if __name__ == "__main__":
    run_stage("serving.label", main, says_document=True)
