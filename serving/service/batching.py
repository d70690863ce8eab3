"""Pictures that come one by one, scored together."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from serving.ensemble.rows import LabelledPicture
from serving.reading.reader import ReadPicture

LabelPictures = Callable[[Sequence[ReadPicture]], list[LabelledPicture]]
"""A row for each."""
MOST = 16
"""Pictures that are scored together."""


class _Waiting(NamedTuple):
    picture: ReadPicture
    row: asyncio.Future[LabelledPicture]


class Batcher:
    """Collects pictures for a moment, or while all threads are busy, and scores up to `size`."""

    def __init__(
        self,
        label_pictures: LabelPictures,
        threads: int,
        note_batch: Callable[[int], None],
        size: int = MOST,
        seconds: float = 0.005,
    ) -> None:
        self._label_pictures = label_pictures
        self._note_batch = note_batch
        self._size, self._seconds = size, seconds
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._threads = ThreadPoolExecutor(threads, "score")
        self._turns = asyncio.Semaphore(threads)
        self._running: set[asyncio.Task[None]] = set()

    async def label(self, picture: ReadPicture) -> LabelledPicture:
        """The row of one picture, once its batch is scored."""
        row: asyncio.Future[LabelledPicture] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait(_Waiting(picture, row))
        return await row

    async def run(self) -> None:
        """Scores until it is cancelled."""
        try:
            while True:
                await self._turns.acquire()
                batch = await self._collect()
                task = asyncio.create_task(self._score(batch))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
        finally:
            self._threads.shutdown(wait=False)

    async def _collect(self) -> list[_Waiting]:
        """Those whose askers still wait."""
        batch = [await self._waiting.get()]
        if self._waiting.qsize() + 1 < self._size:
            await asyncio.sleep(self._seconds)
        while len(batch) < self._size and not self._waiting.empty():
            batch.append(self._waiting.get_nowait())
        return [waiting for waiting in batch if not waiting.row.done()]

    async def _score(self, batch: Sequence[_Waiting]) -> None:
        try:
            if batch:
                await self._answer(batch)
        finally:
            self._turns.release()

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        pictures = [waiting.picture for waiting in batch]
        loop = asyncio.get_running_loop()
        try:
            rows = await loop.run_in_executor(self._threads, self._label_pictures, pictures)
        except Exception as error:  # theirs who asked
            for waiting in batch:
                if not waiting.row.done():
                    waiting.row.set_exception(error)
            return
        self._note_batch(len(batch))
        for waiting, row in zip(batch, rows, strict=True):
            if not waiting.row.done():
                waiting.row.set_result(row)
