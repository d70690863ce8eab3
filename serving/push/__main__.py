"""A bundle to the Hugging Face hub.

Reads: a bundle
Writes: a repository of the hub
Params: none
"""

from pathlib import Path
from typing import Annotated

import typer

from features.runtime.cli import run_stage


def main(
    repo: Annotated[str, typer.Argument(help="Repository of the hub: owner/name.")],
    bundle: Annotated[Path, typer.Option("--bundle", "-b", help="Folder of the bundle.")] = Path(
        "ensemble"
    ),
    public: Annotated[
        bool, typer.Option("--public", help="Where it is made anew, everybody may see it.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")
    ] = False,
) -> None:
    """Send a bundle that passes `verify` to a repository of the Hugging Face hub."""
    from serving.push.run import run

    run(repo, bundle, public, dry_run)


if __name__ == "__main__":
    run_stage("serving.push", main)
