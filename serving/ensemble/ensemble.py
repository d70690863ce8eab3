"""A bundle that labels.

>>> ensemble = Ensemble.load("ensemble")
>>> [row] = ensemble.label(["samples/0.png"])
>>> row.label in ("real", "fake")
True
>>> ensemble.predict_proba(["samples/0.png"]).shape
(1, 2)
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from features.errors import PictureError
from features.faces.centerface import LONGEST
from features.faces.crops import PicturePart
from features.runtime.memory import count_workers
from serving.ensemble.rows import LabelledPicture, label_read
from serving.format.facts import BundleFacts
from serving.format.files import Bundle, open_bundle
from serving.reading.pictures import AnyPicture, GivenPicture, is_one_picture, name_picture
from serving.reading.reader import ReadPicture, open_reader
from serving.reading.shown import ShownRows, join_rows, show_row
from serving.scoring.scorer import TOGETHER, EnsembleScores, open_scorer

HELD = 64 << 20
"""Bytes of squares from which on a thread scores what it has read of its pictures; and of pictures
that are in memory before they are read, from which on no more of them wait for one thread."""


class Ensemble:
    """Labels pictures as the stage `label` of its project does; many threads may use it."""

    def __init__(
        self,
        bundle: Bundle,
        threads: int = 1,
        max_loss: float | None = None,
        prior: float | None = None,
    ) -> None:
        self.bundle = bundle
        self._asked = threads, max_loss, prior
        self.scorer = open_scorer(bundle, threads, max_loss, prior)
        self.reader = open_reader(bundle.facts.pixels, bundle.folder)

    @classmethod
    def load(
        cls,
        folder: str | PathLike[str],
        threads: int = 1,
        max_loss: float | None = None,
        prior: float | None = None,
    ) -> Self:
        """A bundle that `forgerystack bundle` made; the sha256 of each file is checked.

        `threads`: as many does one question to a network take. Several pictures are shared out to
        all cores anyway, so more than 1 helps where single pictures are asked for. `max_loss`: of
        AUC and of balanced accuracy, within which pictures that cheap networks are certain of are
        not shown to expensive ones. `prior`: share of fakes that probabilities assume, in place of
        the bundle's; labels stay. Raises `BundleError`, and `ConfigError` where another share would
        have another threshold.
        """
        return cls(open_bundle(Path(folder)), threads, max_loss, prior)

    def __reduce__(self) -> tuple[object, ...]:
        """Another process loads the bundle itself, from the same folder."""
        return type(self).load, (self.bundle.folder.absolute(), *self._asked)

    @property
    def facts(self) -> BundleFacts:
        """What the bundle says of itself."""
        return self.bundle.facts

    def label(
        self, pictures: Iterable[AnyPicture], with_members: bool = False
    ) -> list[LabelledPicture]:
        """A row for each picture, in their order.

        `with_members`: with the log-odds of each member, for which all of them must run. Raises
        `TypeError` for what is no picture, and for a single one.
        """
        return list(self.stream(_name_all(pictures), with_members))

    def predict_proba(self, pictures: Iterable[AnyPicture]) -> npt.NDArray[np.float64]:
        """`(n, 2)`: probabilities of real and of fake, as scikit-learn's classifiers give them.

        Raises `PictureError` with all pictures that cannot be read.
        """
        rows = self.label(pictures)
        if problems := [f"{row.name}: {row.status}" for row in rows if not row.is_readable]:
            raise PictureError("pictures", problems)
        fake = np.array([row.score for row in rows], np.float64)
        return np.stack([1 - fake, fake], axis=1)

    def stream(
        self,
        pictures: Iterable[GivenPicture],
        with_members: bool = False,
        workers: int | None = None,
    ) -> Iterator[LabelledPicture]:
        """Rows as they come, in the order of `pictures`, of which a few are in memory at a time.

        `workers` threads, one a core where memory suffices, each decode and score some.
        """
        workers = workers or count_workers()
        most = HELD * (1 + workers)
        coming: deque[tuple[Future[list[LabelledPicture]], int]] = deque()
        with ThreadPoolExecutor(workers) as pool:
            try:
                for batch in _cut(pictures):
                    job = pool.submit(self.label_batch, batch, with_members)
                    coming.append((job, sum(picture.held for picture in batch)))
                    while len(coming) > 2 * workers or sum(held for _, held in coming) > most:
                        yield from coming.popleft()[0].result()
                while coming:
                    yield from coming.popleft()[0].result()
            finally:
                for job, _ in coming:
                    job.cancel()

    def label_batch(
        self, pictures: Sequence[GivenPicture], with_members: bool = False
    ) -> list[LabelledPicture]:
        """A row for each picture, all of them decoded and scored together by this thread.

        Where they are large, in several goes: what is in memory does not grow with them.
        """
        sights = self.scorer.list_sights(with_members)
        rows: list[LabelledPicture] = []
        read: list[ReadPicture] = []
        for picture in pictures:
            read.append(self.reader.attempt(picture, sights))
            if sum(own.rows.nbytes for own in read) > HELD:
                rows += label_read(self.scorer, read, with_members)
                read = []
        return rows + label_read(self.scorer, read, with_members)

    def score_rows(self, rows: ShownRows, all_members: bool = False) -> EnsembleScores:
        """As `reader` makes them, to log-odds as they come."""
        return self.scorer.score(rows, all_members)

    def warm_up(self) -> None:
        """Runs all networks on as many squares as they ever see at a time, and the detector: what
        memory that takes is taken then."""
        grey = np.full((LONGEST, LONGEST, 3), 127, np.uint8)
        self.reader.find_parts(grey)
        whole, sights = PicturePart(None, None), self.scorer.list_sights(all_members=True)
        row = show_row(self.reader.draw_part(grey, whole, sights))
        self.score_rows(join_rows([row] * TOGETHER), all_members=True)


def _name_all(pictures: Iterable[AnyPicture]) -> Iterator[GivenPicture]:
    if is_one_picture(pictures):
        raise TypeError(f"one {type(pictures).__name__}, not several pictures: write [picture]")
    return (name_picture(picture, position) for position, picture in enumerate(pictures))


def _cut(pictures: Iterable[GivenPicture]) -> Iterator[list[GivenPicture]]:
    """Batches, of fewer pictures where these hold much memory already."""
    batch: list[GivenPicture] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == TOGETHER or sum(own.held for own in batch) > HELD:
            yield batch
            batch = []
    if batch:
        yield batch
