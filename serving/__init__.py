"""The ensemble as a bundle that labels any picture: a folder, commands, a library. Needs no torch.

from serving import Ensemble

ensemble = Ensemble.load("ensemble")
ensemble.label(["holiday.jpg"])
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.ensemble.ensemble import Ensemble as Ensemble

# As in `stage2_ensemble`, before LightGBM loads OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> object:
    """`Ensemble`, once it is asked for: commands answer `--help` before numpy is loaded."""
    if name == "Ensemble":
        from serving.ensemble.ensemble import Ensemble

        return Ensemble
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
