"""One network of a bundle: squares of pixels to raw log-odds and embeddings."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from features.core.manifest import Ids
from features.errors import BundleError
from serving.format.facts import MemberFacts
from serving.scoring.views import SQUARE_VIEWS, Squares
from stage1_cnn.graphs.sessions import Single, open_session, score_pixels


class NetworkScores(NamedTuple):
    """Raw log-odds of fake `(n, k)`, a column for each of its `k` heads, and embeddings `(n, d)`:
    the means over the network's views."""

    log_odds: Single
    embeddings: Single

    def take(self, positions: Ids) -> Self:
        """Of the squares at these positions."""
        return type(self)(self.log_odds[positions], self.embeddings[positions])


PixelNetwork = Callable[[Squares], tuple[Single, Single]]
"""`(n, s, s, 3)` to raw log-odds, `(n,)` of one head and `(n, k)` of several, and embeddings
`(n, d)`; many threads may ask."""


class BundledNetwork:
    """A network that is loaded; many threads may ask it."""

    def __init__(self, folder: Path, facts: MemberFacts, threads: int = 1) -> None:
        """`facts`: of any member that it is; `threads`: as many does one question take.

        Raises `BundleError` for a network that needs torch where there is none.
        """
        self.facts = facts
        self._network = _open(folder / facts.file, facts, threads)

    def score(self, squares: Squares) -> NetworkScores:
        """`squares`: `(n, s, s, 3)`, of the side that its sight has."""
        views = SQUARE_VIEWS[self.facts.tta]
        found = [self._network(np.ascontiguousarray(view(squares))) for view in views]
        log_odds, embeddings = found[0]
        if len(found) > 1:
            log_odds, embeddings = (np.mean(part, axis=0) for part in zip(*found, strict=True))
        return NetworkScores(log_odds.reshape(len(squares), -1), embeddings)


def _open(path: Path, facts: MemberFacts, threads: int) -> PixelNetwork:
    if facts.kind == "onnx":
        # Threads that wait by spinning take the time of those that decode.
        return functools.partial(score_pixels, open_session(path, threads, spinning=False))
    try:
        from serving.scoring.torch_network import load_torch_network
    except ImportError:
        problem = f"{facts.file} is no ONNX graph ({facts.reason}), so it needs torch"
        advice = "pip install 'forgerystack[train]'"
        raise BundleError(str(path.parent.parent), [problem], advice) from None
    return load_torch_network(path, facts)
