"""The pictures that a bundle brings, scored again."""

from pathlib import Path

from features.errors import BundleError
from serving.ensemble.ensemble import Ensemble
from stage1_cnn.graphs.sessions import find_limit


def check_samples(folder: Path) -> float:
    """The largest difference in log-odds between now and when the bundle was made.

    Raises `BundleError` with all samples that differ by more than they may, or as
    `Ensemble.load`.
    """
    ensemble = Ensemble.load(folder)
    samples = ensemble.facts.samples
    rows = ensemble.label([folder / sample.file for sample in samples])
    # Samples are other pictures than those that graphs were held against torch on.
    apart = max((m.parity.log_odds for m in ensemble.facts.members if m.parity), default=0.0)
    limit = find_limit([sample.log_odds for sample in samples]) + 2 * apart
    problems, largest = [], 0.0
    for sample, row in zip(samples, rows, strict=True):
        difference = abs(row.log_odds - sample.log_odds)
        largest = max(largest, difference)
        if not row.is_readable or not difference <= limit:
            found = f"log-odds {row.log_odds:.6g}, {sample.log_odds:.6g} when the bundle was made"
            problems.append(f"{sample.file}: {found if row.is_readable else row.status}")
    if problems:
        advice = f"Made with {_list_versions(ensemble)}; other versions may round otherwise."
        raise BundleError(str(folder), problems, advice)
    return largest


def _list_versions(ensemble: Ensemble) -> str:
    return ", ".join(f"{name} {number}" for name, number in ensemble.facts.versions.items())
