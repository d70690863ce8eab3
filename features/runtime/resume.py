"""Where a stopped run keeps what it goes on from."""

from features.settings.sections import Place, StageParams


class ResumeParams(StageParams):
    """What `train`, `dump`, `perturb`, `forensics` read besides; it changes no result."""

    resume_dir: Place = ".resume"
    """Folder of saved states: removed when a run has ended well."""
