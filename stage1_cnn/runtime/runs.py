"""What runs of every stage here have in common: limits, where results go, what computes."""

from dataclasses import dataclass
from pathlib import Path

from features.errors import ConfigError
from stage1_cnn.runtime.options import SAVE_MINUTES

COMPUTING = ("torch", "torchvision", "timm", "numpy", "pillow")
"""Packages whose versions results depend on."""


@dataclass(frozen=True)
class RunLimits:
    """What a run is kept within, and where it keeps what it goes on from; none changes a result."""

    resume_dir: Path
    max_minutes: float | None = None
    save_minutes: float = SAVE_MINUTES
    """Of trainings."""


def resolve_out_dir(asked: Path | None, place: Path, given: object, kept: object) -> Path:
    """`asked`, or `place`, which `dvc repro` uses, if the settings are those of `params.yaml`.

    `given` and `kept` are the settings of this run and of `params.yaml` that results depend on.
    Raises `ConfigError` where they differ: the next `dvc repro` would take results of other
    settings for its own.
    """
    if asked is None and given != kept:
        problem = f"the settings differ from those of params.yaml, which {place} is for"
        raise ConfigError("--set", [problem], "Name a folder for this run: --out DIR")
    return asked or place
