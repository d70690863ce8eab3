"""What of `params.yaml` the search depends on, its folder and its usual time."""

from pathlib import Path

from features.runtime.resume import ResumeParams
from features.settings.stacking import StackParams

OUT = Path("artifacts/tune")
MINUTES = 10.0


class TuneParams(StackParams, ResumeParams):
    """What `tune` reads: those of `stack`, which it tunes."""
