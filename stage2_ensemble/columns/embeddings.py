"""Embeddings of some rows, and whose axes they have: the rule of which may be pooled, as types.

The axes of two separately trained networks have nothing to do with each other, so rows of two folds
are no rows of one table. Those of a frozen encoder are the same in every fold.

    pooled = pool_embeddings([SharedEmbeddings(rows, encoder), SharedEmbeddings(others, encoder)])
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import AlignmentError

Halves = npt.NDArray[np.float16]


@dataclass(frozen=True)
class FoldEmbeddings:
    """`rows` `(n, d)` of the network of one fold: only rows of the same one can be compared."""

    rows: Halves


@dataclass(frozen=True)
class SharedEmbeddings:
    """`rows` `(n, d)` of a frozen encoder, which has seen none of them whatever the fold."""

    rows: Halves
    encoder: str
    """Its digest: whose axes these are."""


Embeddings = FoldEmbeddings | SharedEmbeddings


def check_one_encoder(parts: Sequence[Embeddings]) -> list[SharedEmbeddings]:
    """`parts`, which are all of one frozen encoder. Raises `AlignmentError` where they are not."""
    shared = [part for part in parts if isinstance(part, SharedEmbeddings)]
    if len(shared) < len(parts):
        found = f"{len(parts) - len(shared)} of a network that was trained without one fold"
        raise AlignmentError("embeddings to be pooled over folds", found, "of a frozen encoder")
    encoders = sorted({part.encoder[:8] for part in shared})
    if len({part.encoder for part in shared}) != 1:
        raise AlignmentError("encoders of embeddings to be pooled", encoders, "one")
    return shared


def pool_embeddings(parts: Sequence[SharedEmbeddings]) -> SharedEmbeddings:
    """The rows of all folds, one fold below the other. Raises as `check_one_encoder`."""
    shared = check_one_encoder(parts)
    return SharedEmbeddings(np.concatenate([part.rows for part in shared]), shared[0].encoder)
