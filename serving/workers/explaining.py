"""What the worker that explains does: it has the whole bundle, and bounds of its own."""

import functools
from typing import NamedTuple

from serving.ensemble.ensemble import Ensemble
from serving.format.files import check_same_bundle
from serving.sheet.page import build_sheet
from serving.workers.bounding import bound_worker, estimate_decoding

HELD = 3
"""Times the pixels of a picture are in memory: as they are, changed, and drawn."""


class ExplainingPlan(NamedTuple):
    """All that evidence depends on."""

    bundle: str
    digest: str
    """Of the bundle: another one in its folder is refused."""
    file_bytes: int
    """The most that a content has."""
    prior: float | None


def explain_upload(content: bytes, name: str, plan: ExplainingPlan) -> str:
    """The evidence sheet of a file, as HTML. Raises `PictureError`."""
    return build_sheet(prepare_explaining(plan), content, name)


@functools.cache
def prepare_explaining(plan: ExplainingPlan) -> Ensemble:
    """Once in a process; all networks run before its memory is bounded.

    Raises `BundleError`, also for another bundle than the plan's.
    """
    ensemble = Ensemble.load(plan.bundle, prior=plan.prior)
    ensemble.warm_up()
    check_same_bundle(ensemble.bundle.folder, plan.digest)
    bound_worker(HELD * estimate_decoding(ensemble.facts.pixels.limits, plan.file_bytes))
    return ensemble
