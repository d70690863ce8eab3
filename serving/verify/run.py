"""What `python -m serving.verify` does."""

import logging
from pathlib import Path

from features.errors import BundleError
from serving.format.files import find_strays, open_bundle
from serving.verify.samples import check_samples

_log = logging.getLogger("forgerystack")


def run(folder: Path) -> None:
    """Raises `BundleError` for what is missing, changed, too many, or scores otherwise."""
    bundle = open_bundle(folder)
    if strays := find_strays(folder):
        problems = [f"{name} is no part of the bundle" for name in strays]
        raise BundleError(str(folder), problems, "Remove what does not belong there.")
    largest = check_samples(folder)
    samples = len(bundle.facts.samples)
    scored = (
        f"{samples} samples score as they did, within {largest:.2g}" if samples else "no samples"
    )
    _log.info("verify: every file is what was written; %s", scored)
