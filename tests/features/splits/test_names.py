"""Hashes of names: the same in blocks of any size, and for lists as for columns."""

from hashlib import blake2b

import numpy as np
import pandas as pd
import pytest

from features.splits import names
from features.splits.names import hash_names, screen_repeated

NAMES = ["a", "é", "", "b", "a", "c", "", "字.jpg"]


@pytest.mark.parametrize("size", [1, 3, 8, 100])
@pytest.mark.parametrize("kind", ["list", "str", "object"])
def test_hashes_are_those_of_each_name_alone(
    monkeypatch: pytest.MonkeyPatch, size: int, kind: str
) -> None:
    monkeypatch.setattr(names, "BLOCK", size)
    given = NAMES if kind == "list" else pd.Series(NAMES, dtype=kind, index=range(8, 0, -1))
    wanted = [blake2b(n.encode(), digest_size=8, key=b"7:fold").digest() for n in NAMES]
    assert hash_names(given, 7, "fold").tolist() == [int.from_bytes(w, "little") for w in wanted]
    kept = np.arange(8) % 3 == 0
    assert (
        hash_names(given, 7, "fold", kept).tolist() == hash_names(given, 7, "fold")[kept].tolist()
    )
    assert screen_repeated(given).tolist() == [0, 2, 4, 6]


def test_no_names_have_no_hashes() -> None:
    assert len(hash_names([], 0, "fold")) == len(screen_repeated([])) == 0
