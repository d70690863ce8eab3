"""Settings that `tune` reads; the ranges that it searches stand beside the search."""

from features.resume_params import ResumeParams
from features.stack_params import StackParams


class TuneParams(StackParams, ResumeParams):
    """What `tune` reads: those of `stack`, which it tunes."""
