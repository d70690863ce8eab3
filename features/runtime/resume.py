"""Where a stopped run keeps what it goes on from, and a run what says that it is the newest."""

from collections.abc import Sequence
from pathlib import Path

from features.settings.sections import Place, StageParams, load_params


class ResumeParams(StageParams):
    """What every stage reads besides; it changes no result."""

    resume_dir: Place = ".resume"
    """Folder of saved states: removed when a run has ended well."""


def read_resume_dir(overrides: Sequence[str] | None = None) -> Path:
    """The folder that `params.yaml` names. Raises `ConfigError`."""
    return Path(load_params(ResumeParams, overrides).resume_dir)
