"""Where a stopped run keeps what it goes on from."""

from features.settings.sections import StageParams


class ResumeParams(StageParams):
    """What `train`, `dump`, `perturb`, `forensics` read besides; it changes no result."""

    resume_dir: str = ".resume"
    """Folder of saved states: removed when a run has ended well."""
