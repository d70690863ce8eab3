"""Load on the service over loopback: good bodies, then hostile ones among them, 8 and 64 clients.

Per load: pictures a second beside what the bare graphs do on the same cores, median
and 99th percentile of the wait, answers that are missing or have another code than their body asks
for, memory of the service and of its workers, which have a picture in it while they decode one.

    python -m benchmarks.service --bundle FOLDER [--quick]
    python -m benchmarks.service --bundle FOLDER --minutes 6     # is memory flat?
"""

import asyncio
import io
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import httpx2
import numpy as np
import typer
from PIL import Image

from features.faces.crops import PicturePart
from features.runtime.memory import count_workers
from serving import Ensemble
from serving.reading.shown import join_rows, show_row

BATCH = 16
FORM = {"content-type": "multipart/form-data; boundary=b"}
GOOD = "good"
EVERY = 10
"""Seconds between two looks at memory."""


@dataclass(frozen=True)
class Body:
    """What is sent, and the code that it must get."""

    content: bytes
    code: int
    headers: dict[str, str] = field(default_factory=lambda: FORM)


@dataclass
class Tally:
    """What came of all requests of one load."""

    seconds: list[float] = field(default_factory=list)
    """Of good bodies."""
    answers: Counter[str] = field(default_factory=Counter)
    """By body and code."""
    wrong: int = 0
    """Without an answer, or with another than must be."""


@dataclass(frozen=True)
class Memory:
    """MB at one moment."""

    seconds: float
    service: float
    workers: list[float]

    def describe(self) -> str:
        """A line."""
        workers = ", ".join(f"{own:.0f}" for own in self.workers)
        return f"{self.seconds:5.0f} s  service {self.service:.0f} MB, workers {workers}"


def main(
    bundle: Annotated[Path, typer.Option(help="Folder of a bundle.")] = Path("ensemble"),
    quick: Annotated[bool, typer.Option(help="5 seconds a load instead of 30.")] = False,
    minutes: Annotated[
        float, typer.Option(min=0, help="Of each load, with a line on memory every 10 seconds.")
    ] = 0,
) -> None:
    """Print a block for each load."""
    if not bundle.is_dir():
        print(f"service: needs a bundle, and there is none at {bundle}: forgerystack bundle")
        return
    seconds = 60 * minutes or (5 if quick else 30)
    bare = measure_graphs(bundle, min(seconds / 3, 10))
    print(f"bare graphs: {bare:.1f} pictures/s, {count_workers()} threads of batches of {BATCH}")
    bodies = build_bodies()
    with serve(bundle) as (process, address):
        asyncio.run(load(address, 8, 2, bodies))  # memory is compared once all has been used
        good = {GOOD: bodies[GOOD]}
        for clients, what, sent in ((8, "good", good), (8, "mixed", bodies), (64, "mixed", bodies)):
            print(f"{clients} clients, {seconds:g} s, {what} bodies")
            watched = load_and_watch(process.pid, address, clients, seconds, sent, bool(minutes))
            report(seconds, *asyncio.run(watched), bare)
        process.terminate()
        print(f"ended with {process.wait(60)}")


def measure_graphs(bundle: Path, seconds: float) -> float:
    """Squares a second that all cores score, with nothing around them."""
    ensemble = Ensemble.load(bundle)
    side = ensemble.facts.pixels.size
    noise = np.random.default_rng(0).integers(0, 256, (BATCH, side, side, 3), np.uint8)
    sights, whole = ensemble.scorer.list_sights(), PicturePart(None, None)
    rows = join_rows([show_row(ensemble.reader.draw_part(own, whole, sights)) for own in noise])
    ensemble.score_rows(rows)
    start = time.perf_counter()

    def score(_: int) -> int:
        count = 0
        while time.perf_counter() - start < seconds:
            ensemble.score_rows(rows)
            count += BATCH
        return count

    with ThreadPoolExecutor(count_workers()) as pool:
        total = sum(pool.map(score, range(count_workers())))
    return total / (time.perf_counter() - start)


def build_bodies() -> dict[str, Body]:
    """By name; all but the good one are hostile."""
    good = save(draw(512, 384), "JPEG")
    cut = wrap(good)
    return {
        GOOD: Body(wrap(good), 200),
        "picture cut off": Body(wrap(good[: len(good) // 2]), 200),
        "text": Body(wrap(b"no picture " * 1000), 200),
        "bomb": Body(wrap(save(np.zeros((12_000, 12_000), np.uint8), "PNG")), 200),
        "large picture": Body(wrap(save(np.zeros((6000, 6000), np.uint8), "PNG")), 200),
        "huge": Body(wrap(bytes(6 << 20)), 413),
        "form cut off": Body(cut[: len(cut) // 2], 422),
        "no JSON": Body(b'{"pictures": [', 422, {"content-type": "application/json"}),
        "other type": Body(good, 415, {"content-type": "image/jpeg"}),
    }


def draw(width: int, height: int) -> np.ndarray:
    """Smooth noise, which JPEG takes as it takes photographs."""
    small = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def save(pixels: np.ndarray, kind: str) -> bytes:
    """A file of `pixels`."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def wrap(content: bytes) -> bytes:
    """A form with one file."""
    head = b'--b\r\nContent-Disposition: form-data; name="pictures"; filename="a"\r\n\r\n'
    return head + content + b"\r\n--b--\r\n"


@contextmanager
def serve(bundle: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The service, ready, and its address."""
    command = [sys.executable, "-m", "serving.serve", "--bundle", str(bundle), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--max-body-mb", "4", "--max-file-mb", "4"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        address = "http://" + process.stdout.readline().split("http://")[1].split(",")[0]
        while httpx2.get(address + "/healthz", timeout=60).status_code != 200:
            time.sleep(0.2)
        yield process, address
    finally:
        process.kill()


async def load(address: str, clients: int, seconds: float, bodies: dict[str, Body]) -> Tally:
    """`clients` that each ask again as soon as they have an answer; every third body is hostile."""
    tally = Tally()
    end = time.perf_counter() + seconds
    hostile = [name for name in bodies if name != GOOD]
    limits = httpx2.Limits(max_connections=clients)
    async with httpx2.AsyncClient(base_url=address, timeout=120, limits=limits) as client:

        async def ask(place: int) -> None:
            turn = place
            while time.perf_counter() < end:
                turn += 1
                is_hostile = hostile and turn % 3 == 0
                name = hostile[turn // 3 % len(hostile)] if is_hostile else GOOD
                await ask_once(client, name, bodies[name], tally)

        await asyncio.gather(*map(ask, range(clients)))
    return tally


async def ask_once(client: httpx2.AsyncClient, name: str, body: Body, tally: Tally) -> None:
    """One request, told to `tally`."""
    start = time.perf_counter()
    try:
        answer = await client.post("/score", content=body.content, headers=body.headers)
    except httpx2.HTTPError as error:
        tally.answers[f"{name}: {type(error).__name__}"] += 1
        tally.wrong += 1
        return
    tally.answers[f"{name}: {answer.status_code}"] += 1
    scored = answer.status_code == 200 and answer.json()["pictures"][0]["status"] == "ok"
    tally.wrong += answer.status_code != body.code or (name == GOOD and not scored)
    if name == GOOD:
        tally.seconds.append(time.perf_counter() - start)


async def load_and_watch(
    pid: int, address: str, clients: int, seconds: float, bodies: dict[str, Body], shows: bool
) -> tuple[Tally, list[Memory]]:
    """As `load`, and the memory of the service `pid` all the while."""
    found: list[Memory] = []
    start = time.perf_counter()

    async def watch() -> None:
        while True:
            found.append(measure_memory(pid, time.perf_counter() - start))
            if shows:
                print(f"  {found[-1].describe()}", flush=True)
            await asyncio.sleep(min(EVERY, seconds / 5))

    watching = asyncio.create_task(watch())
    tally = await load(address, clients, seconds, bodies)
    watching.cancel()
    return tally, found


def measure_memory(pid: int, seconds: float) -> Memory:
    """Of a process and its children, resident."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if pid in (parent, int(folder.name)):
                status = (folder / "status").read_text()
                found[int(folder.name)] = int(status.split("VmRSS:")[1].split()[0]) / 1024
        except (OSError, IndexError):
            continue
    return Memory(seconds, found.pop(pid), sorted(found.values()))


def report(seconds: float, tally: Tally, memory: list[Memory], bare: float) -> None:
    """A block of lines."""
    rate = len(tally.seconds) / seconds
    middle, late = np.percentile(tally.seconds, [50, 99])
    print(f"  good pictures  {rate:.1f}/s, {rate / bare:.2f} of the bare graphs")
    print(f"  their wait     median {middle * 1000:.0f} ms, 99 % within {late * 1000:.0f} ms")
    print(f"  lost or wrong  {tally.wrong}")
    workers = [own for moment in memory for own in moment.workers]
    print(
        f"  memory         service {memory[0].service:.0f} MB at first, {memory[-1].service:.0f} "
        f"in the end; workers {min(workers):.0f} to {max(workers):.0f}"
    )
    late = memory[len(memory) // 2 :]
    slope = np.polyfit([m.seconds for m in late], [m.service for m in late], 1)[0]
    print(f"  its growth     {60 * slope:+.2f} MB a minute in the second half")
    print("  answers        " + ", ".join(f"{n} {c}" for n, c in sorted(tally.answers.items())))


if __name__ == "__main__":
    typer.run(main)
