"""What the worker that explains does: it has the whole bundle, and bounds of its own."""

import functools

from serving.ensemble.ensemble import Ensemble
from serving.sheet.page import build_sheet
from serving.workers.bounding import bound_worker, estimate_decoding

HELD = 3
"""Times the pixels of a picture are in memory: as they are, changed, and drawn."""


def explain_upload(
    content: bytes, name: str, bundle: str, file_bytes: int, prior: float | None
) -> str:
    """The evidence sheet of a file, as HTML; `file_bytes`: the most that `content` has.

    Raises `PictureError`.
    """
    return build_sheet(_load(bundle, file_bytes, prior), content, name)


@functools.cache
def _load(bundle: str, file_bytes: int, prior: float | None) -> Ensemble:
    """Once in a process; all networks run before its memory is bounded."""
    ensemble = Ensemble.load(bundle, prior=prior)
    ensemble.warm_up()
    bound_worker(HELD * estimate_decoding(ensemble.facts.pixels.limits, file_bytes))
    return ensemble
