"""All that answers: the bundle, the processes that decode, the threads that score."""

import asyncio
import functools
import io
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from features.errors import ImageProblem, PictureError
from serving.ensemble.ensemble import Ensemble
from serving.ensemble.rows import label_read
from serving.format.facts import list_networks
from serving.reading.reader import ReadPicture
from serving.service.answers import (
    PictureAnswer,
    ScoreAnswer,
    Upload,
    describe_picture,
    describe_unreadable,
)
from serving.service.batching import MOST, Batcher
from serving.service.limits import Admission, Refusal, ServiceLimits
from serving.service.metrics import Metrics
from serving.workers.decoding import DecodingPlan, decode_upload
from serving.workers.explaining import explain_upload
from serving.workers.pools import WorkerLostError, WorkerPool

_log = logging.getLogger("forgerystack")


class Service:
    """Answers about pictures from `start` on; `stop` lets go of all."""

    def __init__(
        self, bundle: Path, limits: ServiceLimits, workers: int, prior: float | None = None
    ) -> None:
        self.limits = limits
        self.admission = Admission(limits)
        self.metrics = Metrics()
        self.failure: Exception | None = None
        self._bundle, self._workers, self._prior = bundle, workers, prior
        self._status: Literal["starting", "ready"] = "starting"
        self._is_draining = False
        self._tasks: list[asyncio.Task[None]] = []
        self.metrics.watch(
            "queue_requests", "Requests that wait or are answered.", lambda: self.admission.requests
        )
        self.metrics.watch("queue_bytes", "Bytes that requests hold.", lambda: self.admission.bytes)

    @property
    def status(self) -> Literal["starting", "ready", "draining"]:
        """Whether questions are answered."""
        return "draining" if self._is_draining else self._status

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.failure is not None or (self._is_draining and not self.admission.requests)

    def drain(self) -> None:
        """From now on no request is taken."""
        self._is_draining = True

    def start(self) -> None:
        """Loads the bundle while others are told to wait; `failure` holds what goes wrong."""
        self._decoders = WorkerPool(self._workers, self.limits.decoding_seconds, self._note_loss)
        self._explainer = WorkerPool(1, self.limits.seconds, self._note_loss)
        self._tasks.append(asyncio.create_task(self._start()))

    async def stop(self) -> None:
        """Ends what runs beside requests."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pool in (self._decoders, self._explainer):
            await asyncio.to_thread(pool.stop)

    def check_ready(self) -> None:
        """Raises `Refusal` unless questions are answered."""
        if self.status != "ready":
            raise Refusal(503, f"the service is {self.status}", retry_after=5)

    async def _start(self) -> None:
        try:
            self._ensemble = await asyncio.to_thread(Ensemble.load, self._bundle, prior=self._prior)
            facts = self._ensemble.facts
            most = min(self.limits.pixels, facts.pixels.limits.max_pixels)
            limits = facts.pixels.limits.model_copy(update={"max_pixels": most})
            self._plan = DecodingPlan(
                bundle=self._bundle,
                pixels=facts.pixels.model_copy(update={"limits": limits}),
                sights=tuple(self._ensemble.scorer.list_sights()),
                file_bytes=self.limits.file_bytes,
            ).model_dump_json()
            label = functools.partial(label_read, self._ensemble.scorer)
            self._batcher = Batcher(label, self._workers, self.metrics.batches.observe)
            self._tasks.append(asyncio.create_task(self._batcher.run()))
            await self._warm_up()
        except Exception as error:
            self.failure = error
            return
        self._status = "ready"
        networks = len(list_networks(self._ensemble.scorer.needed))
        _log.info("serve: ready: %s asks %s networks", facts.shipped, networks)

    async def _warm_up(self) -> None:
        """Starts every process, and scores as many pictures at once as it ever does: the first who
        asks waits for neither, and what memory scoring takes is taken now, not under load."""
        side = self._ensemble.facts.pixels.size
        square = np.zeros((side, side, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(square).save(buffer, "PNG")
        upload = Upload("", buffer.getvalue())
        read = await asyncio.gather(*(self._decode(upload) for _ in range(self._workers)))
        await asyncio.gather(*(self._batcher.label(read[0]) for _ in range(self._workers * MOST)))

    def _note_loss(self, reason: str) -> None:
        self.metrics.losses.labels(reason).inc()
        _log.warning("serve: a process that looked at a picture was lost: %s", reason)

    async def score(self, uploads: Sequence[Upload]) -> ScoreAnswer:
        """All pictures of a request, in their order. Raises `Refusal`."""
        async with self._limit_time():
            answers = await asyncio.gather(*map(self._score_upload, uploads))
        for answer in answers:
            outcome = "unreadable" if answer.score is None else "scored"
            self.metrics.pictures.labels(outcome).inc()
        return ScoreAnswer(bundle=self._ensemble.bundle.digest, pictures=answers)

    async def explain(self, upload: Upload) -> str:
        """The evidence sheet of a picture, as HTML. Raises `Refusal`, also for one that cannot be
        read."""
        async with self._limit_time():
            read = await self._decode(upload)  # there a broken file costs least
            if read.problem:
                raise Refusal(422, f"unreadable: {read.problem}")
            try:
                return await self._explainer.run(
                    explain_upload,
                    upload.content,
                    upload.name,
                    str(self._bundle),
                    self.limits.file_bytes,
                    self._prior,
                )
            except (WorkerLostError, PictureError) as error:
                raise Refusal(422, f"no evidence: {error}") from None

    @asynccontextmanager
    async def _limit_time(self) -> AsyncIterator[None]:
        """Raises `Refusal` where an answer takes too long."""
        try:
            async with asyncio.timeout(self.limits.seconds):
                yield
        except TimeoutError:
            reason = f"the answer took longer than {self.limits.seconds:g} s"
            raise Refusal(503, reason, retry_after=5) from None

    async def _score_upload(self, upload: Upload) -> PictureAnswer:
        read = await self._decode(upload)
        if read.problem:
            return describe_unreadable(upload.name, read.problem)
        return describe_picture(await self._batcher.label(read))

    async def _decode(self, upload: Upload) -> ReadPicture:
        """What networks see of a picture; one that cannot be read has a problem."""
        try:
            if not upload.content:
                raise ImageProblem("empty file")
            read = await self._decoders.run(decode_upload, upload.content, self._plan)
        except (ImageProblem, WorkerLostError) as error:
            return ReadPicture(upload.name, is_unit=False, problem=str(error))
        return read._replace(name=upload.name)
