"""All that answers: the bundle, the processes that decode, the threads that score."""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from features.errors import BundleError, ImageProblem, PictureError
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
from serving.workers.decoding import (
    DecodingPlan,
    decode_upload,
    encode_black_square,
    prepare_decoding,
)
from serving.workers.explaining import ExplainingPlan, explain_upload, prepare_explaining
from serving.workers.pools import WorkerLostError, WorkerPool, WorkerStartError

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
        self._pools: list[WorkerPool] = []
        # While networks score so many, others are decoded; more would only lie in memory.
        self._decoded = asyncio.Semaphore(2 * workers * MOST)
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
        self._tasks.append(asyncio.create_task(self._start()))

    async def stop(self) -> None:
        """Ends what runs beside requests."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pool in self._pools:
            await asyncio.to_thread(pool.stop)

    def check_ready(self) -> None:
        """Raises `Refusal` unless questions are answered."""
        if self.status != "ready":
            raise Refusal(503, f"the service is {self.status}", retry_after=5)

    async def _start(self) -> None:
        try:
            self._ensemble = await asyncio.to_thread(Ensemble.load, self._bundle, prior=self._prior)
            self._open_pools()
            label = functools.partial(label_read, self._ensemble.scorer)
            self._batcher = Batcher(label, self._workers, self.metrics.batches.observe)
            self._tasks.append(asyncio.create_task(self._batcher.run()))
            await self._warm_up()
        except Exception as error:
            self.failure = error
            return
        self._status = "ready"
        networks = len(list_networks(self._ensemble.scorer.needed))
        _log.info("serve: ready: %s asks %s networks", self._ensemble.facts.shipped, networks)

    def _open_pools(self) -> None:
        """Processes know which bundle is in memory here: its folder may get another one."""
        digest, pixels = self._ensemble.bundle.digest, self._ensemble.facts.pixels
        most = min(self.limits.pixels, pixels.limits.max_pixels)
        limits = pixels.limits.model_copy(update={"max_pixels": most})
        self._pixels = pixels.model_copy(update={"limits": limits})
        self._plan = DecodingPlan(
            bundle=self._bundle,
            pixels=self._pixels,
            sights=tuple(self._ensemble.scorer.list_sights()),
            digest=digest,
            file_bytes=self.limits.file_bytes,
        ).model_dump_json()
        self._evidence = ExplainingPlan(
            str(self._bundle), digest, self.limits.file_bytes, self._prior
        )
        self._decoders = WorkerPool(
            self._workers,
            self.limits.decoding_seconds,
            self._note_loss,
            functools.partial(prepare_decoding, self._plan),
        )
        self._pools.append(self._decoders)
        self._explainer = WorkerPool(
            1,
            self.limits.explaining_seconds,
            self._note_loss,
            functools.partial(prepare_explaining, self._evidence),
        )
        self._pools.append(self._explainer)

    async def _warm_up(self) -> None:
        """Starts every process that decodes, and scores as many pictures at once as it ever does:
        the first who asks waits for neither, and what memory scoring takes is taken now, not under
        load. Raises `PictureError` where no picture can be read in time."""
        await self._decoders.start()
        read = await self._decode(Upload("", encode_black_square(self._pixels)))
        if read.problem:
            advice = "Allow for more time: --max-seconds"
            raise PictureError("a picture of the service's own", [read.problem], advice)
        await asyncio.gather(*(self._batcher.label(read) for _ in range(self._workers * MOST)))

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
        async with self._limit_time() as timeout:
            read = await self._decode(upload)  # there a broken file costs least
            if read.problem:
                raise Refusal(422, f"unreadable: {read.problem}")
            await self._load_explainer(timeout)
            try:
                return await self._explainer.run(
                    explain_upload, upload.content, upload.name, self._evidence
                )
            except (WorkerLostError, PictureError) as error:
                raise Refusal(422, f"no evidence: {error}") from None

    async def _load_explainer(self, timeout: asyncio.Timeout) -> None:
        """In nobody's time."""
        time, when = asyncio.get_running_loop().time, timeout.when()
        assert when is not None
        start = time()
        timeout.reschedule(None)
        await self._explainer.start()
        timeout.reschedule(when + time() - start)

    @asynccontextmanager
    async def _limit_time(self) -> AsyncIterator[asyncio.Timeout]:
        """Raises `Refusal` where an answer takes too long, or no process can be had for it."""
        try:
            async with asyncio.timeout(self.limits.seconds) as timeout:
                yield timeout
        except TimeoutError:
            reason = f"the answer took longer than {self.limits.seconds:g} s"
            raise Refusal(503, reason, retry_after=5) from None
        except WorkerStartError as error:
            raise Refusal(503, str(error), retry_after=5) from None
        except BundleError as error:
            reason = f"{error.problems[0]}: start the service anew"
            raise Refusal(503, reason, retry_after=60) from None

    async def _score_upload(self, upload: Upload) -> PictureAnswer:
        async with self._decoded:
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
