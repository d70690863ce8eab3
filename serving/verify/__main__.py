"""Is a bundle what was written, and does it score here as it did there?

Reads: a bundle
Writes: nothing
Params: none
"""

from pathlib import Path
from typing import Annotated

import typer

from features.runtime.cli import run_stage


def main(bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")]) -> None:
    """Check the sums of a bundle's files, and score its samples again."""
    from serving.verify.run import run

    run(bundle)


if __name__ == "__main__":
    run_stage("serving.verify", main)
