"""What `python -m features.null_model` does."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from features.artifacts.null_model import NullFindings, write_null_model
from features.core.auc import AucEstimate
from features.core.manifest import read_manifest
from features.null_model.advice import ALL
from features.null_model.file_facts import AFTER
from features.null_model.model import measure_null
from features.null_model.settings import NullParams

MANIFEST = Path("artifacts/manifest")
OUT = Path("artifacts/null_model")
_log = logging.getLogger("forgerystack")


def run(params: NullParams, out: Path = OUT) -> NullFindings:
    """Reads the manifests of train and val, writes facts and val scores."""
    train, val = read_manifest(MANIFEST, "train"), read_manifest(MANIFEST, "val")
    null = measure_null(train, val, params.seed)
    write_null_model(null, train, val, out)
    _log_facts(null.facts)
    return null


def _log_facts(facts: Mapping[str, Any]) -> None:
    if not facts["families"]:
        _log.info("null model: %s", facts["advice"])
        return
    families = {k: AucEstimate.from_metrics(v).describe() for k, v in facts["families"].items()}
    before = ", before images.equalize" if AFTER in families else ""
    _log.info("null model: val AUC %s from file facts and names alone%s", families[ALL], before)
    if AFTER in families:
        _log.info("null model: val AUC %s from what images.equalize leaves", families[AFTER])
    _log.info("null model: %s", facts["advice"])
