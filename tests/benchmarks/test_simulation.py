"""The simulation of very many rows: every step runs, and what it checks itself holds."""

from pathlib import Path

import pytest

from benchmarks.simulation import simulate


@pytest.mark.scale
def test_every_step_runs_and_nothing_is_left(tmp_path: Path) -> None:
    found = simulate(tmp_path, 5000)
    assert list(found) == [
        *("groups", "folds", "train manifest, written", "train manifest, read", "sampler"),
        *("test manifest, written", "dump", "label"),
    ]
    assert all(own["own"] > 10 and own["seconds"] > 0 for own in found.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["resnet", "test.parquet"]
