"""What `python -m serving.explain` does."""

import logging
from pathlib import Path

from features.core.files import write_text
from features.errors import ImageProblem, PictureError
from serving.ensemble.ensemble import Ensemble
from serving.format.folders import check_file_name
from serving.reading.pictures import read_file
from serving.reading.sources import refuse_input
from serving.sheet.facts import gather_facts
from serving.sheet.page import render_sheet
from serving.sheet.words import format_probability

_log = logging.getLogger("forgerystack")


def run(picture: Path, bundle: Path, out: Path, prior: float | None = None) -> None:
    """Raises `PictureError`, `BundleError`, and `ConfigError`."""
    check_file_name(out)
    refuse_input(out, [picture])
    try:
        content = read_file(picture)
    except ImageProblem as problem:
        raise PictureError(str(picture), [str(problem)]) from None
    facts = gather_facts(Ensemble.load(bundle, prior=prior), content, picture.name)
    write_text(out, render_sheet(facts))
    found = [mark.kind for mark in facts.marks if mark.state != "not found"]
    _log.info(
        "explain: %s, fake with %s; marks of origin: %s -> %s",
        facts.label, format_probability(facts.row.log_odds), ", ".join(found) or "none", out,
    )  # fmt: skip
