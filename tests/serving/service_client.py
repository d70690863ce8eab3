"""A service within this process, and who asks it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi.testclient import TestClient
from live_service import wait_until

from serving.service.app import build_app
from serving.service.limits import ServiceLimits
from serving.service.service import Service

SMALL = ServiceLimits(
    requests=1, pictures=3, file_bytes=50_000, body_bytes=120_000, pixels=40_000, seconds=20
)


@contextmanager
def open_client(
    bundle: Path, limits: ServiceLimits = SMALL, key: str | None = None
) -> Iterator[TestClient]:
    service = Service(bundle, limits, workers=1)
    with TestClient(build_app(service, key), base_url="http://127.0.0.1") as client:
        wait_until(lambda: service.status == "ready" or service.failure)
        assert service.failure is None
        yield client


def name_files(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("pictures", (f"{place}.jpg", content)) for place, content in enumerate(contents)]


def ask_aside(client: TestClient, content: bytes, answers: list) -> threading.Thread:
    thread = threading.Thread(
        target=lambda: answers.append(client.post("/score", files=name_files(content)))
    )
    thread.start()
    return thread


def read_metric(client: TestClient, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))
