"""Options that several commands have."""

from typing import Annotated

import typer

AssumedShare = Annotated[
    float | None,
    typer.Option("--prior", min=1e-6, max=1 - 1e-6, help="Share of fakes among such pictures, such "
                 "as 0.01: probabilities follow it, labels stay. Without it: the bundle's."),
]  # fmt: skip
