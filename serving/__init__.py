"""The ensemble as a bundle that labels any picture: a folder, commands, a library. Needs no torch.

from serving import Ensemble

ensemble = Ensemble.load("ensemble")
ensemble.label(["holiday.jpg"])
"""

from typing import TYPE_CHECKING

import features  # noqa: F401 (says how threads wait, before numpy and LightGBM load)

if TYPE_CHECKING:
    from serving.ensemble.ensemble import Ensemble as Ensemble


def __getattr__(name: str) -> object:
    """`Ensemble`, once it is asked for: commands answer `--help` before numpy is loaded."""
    if name == "Ensemble":
        from serving.ensemble.ensemble import Ensemble

        return Ensemble
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
