"""Processes of the service that start slowly, hang, die or find another bundle."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from live_service import hold_workers, wait_until
from service_client import SMALL, ask_aside, name_files, open_client, read_metric

from features.errors import BundleError, PictureError
from serving.format.files import CARD, MANIFEST, open_bundle, seal_bundle
from serving.scoring.scorer import Scorer
from serving.service import service as module
from serving.service.app import build_app
from serving.service.batching import MOST, Batcher
from serving.service.limits import ServiceLimits
from serving.service.service import Service
from serving.workers.decoding import DecodingPlan, prepare_decoding
from serving.workers.explaining import ExplainingPlan, prepare_explaining


def prepare_slowly(plan: str) -> None:
    """Takes longer than a picture may."""
    time.sleep(2)
    prepare_decoding(plan)


def load_slowly(plan: ExplainingPlan) -> None:
    """Takes longer than an answer may."""
    time.sleep(3)
    prepare_explaining(plan)


def hang_evidence(content: bytes, name: str, plan: ExplainingPlan) -> str:
    time.sleep(600)
    return ""


@pytest.fixture(scope="module")
def client(bundle: Path) -> Iterator[TestClient]:
    with open_client(bundle) as client:
        yield client


def test_a_worker_that_is_killed_costs_its_picture_and_no_other(
    client: TestClient, pictures: list[Path]
) -> None:
    content, answers = pictures[0].read_bytes(), []
    deaths = read_metric(client, 'forgerystack_worker_deaths_total{reason="died"}')
    with hold_workers(os.getpid()) as workers:
        thread = ask_aside(client, content, answers)
        wait_until(lambda: read_metric(client, "forgerystack_queue_requests"))
        for worker in workers:
            os.kill(worker, 9)
        thread.join()
    [lost] = answers[0].json()["pictures"]
    assert lost["status"] == "unreadable: the process that looked at it died"
    assert lost["score"] is None
    [found] = client.post("/score", files=name_files(content)).json()["pictures"]
    assert found["status"] == "ok"
    assert read_metric(client, 'forgerystack_worker_deaths_total{reason="died"}') == deaths + 1


def test_a_picture_that_takes_too_long_is_given_up(bundle: Path, pictures: list[Path]) -> None:
    content = pictures[0].read_bytes()
    with open_client(bundle, ServiceLimits(seconds=9)) as client:
        with hold_workers(os.getpid()):
            [given_up] = client.post("/score", files=name_files(content)).json()["pictures"]
        [found] = client.post("/score", files=name_files(content)).json()["pictures"]
    assert given_up["status"] == "unreadable: it took longer than 3 s"
    assert found["status"] == "ok"


# --- how they start


def test_processes_that_start_slowly_take_nobodys_time(
    bundle: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "prepare_decoding", prepare_slowly)
    monkeypatch.setattr(module, "prepare_explaining", load_slowly)
    files = name_files(pictures[0].read_bytes())
    with open_client(bundle, replace(SMALL, seconds=2.5)) as client:
        [found] = client.post("/score", files=files).json()["pictures"]
        sheet = client.post("/explain", files=files)
        assert read_metric(client, "forgerystack_worker_deaths_total") == 0
    assert found["status"] == "ok"
    assert sheet.status_code == 200


def test_a_service_that_can_read_no_picture_does_not_start(bundle: Path) -> None:
    service = Service(bundle, replace(SMALL, pixels=1), workers=1)
    with TestClient(build_app(service), base_url="http://127.0.0.1") as client:
        wait_until(lambda: service.status == "ready" or service.failure)
        assert client.get("/healthz").status_code == 503
    assert isinstance(service.failure, PictureError)
    assert "below min_side" in str(service.failure)


# --- evidence


def test_evidence_that_takes_too_long_is_counted(
    bundle: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = name_files(pictures[0].read_bytes())
    monkeypatch.setattr(module, "explain_upload", hang_evidence)
    with open_client(bundle, replace(SMALL, seconds=5)) as client:
        answer = client.post("/explain", files=files)
        assert read_metric(client, 'forgerystack_worker_deaths_total{reason="timeout"}') == 1
    assert answer.status_code == 422
    assert answer.json() == {"detail": "no evidence: it took longer than 4.5 s"}


def test_a_bundle_that_took_the_place_of_the_one_that_is_served_is_not_asked(
    copied: Callable[[], Path], pictures: list[Path]
) -> None:
    files, folder = name_files(pictures[0].read_bytes()), copied()
    with open_client(folder) as client:
        (folder / CARD).write_text("Another one.")
        (folder / MANIFEST).unlink()
        seal_bundle(folder)
        assert open_bundle(folder)
        answer = client.post("/explain", files=files)
        assert client.post("/score", files=files).status_code == 200
        shutil.rmtree(folder)
        gone = client.post("/explain", files=files)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
    assert "it is another bundle than the one that is served" in answer.json()["detail"]
    assert "start the service anew" in answer.json()["detail"]
    assert gone.status_code == 503


def test_the_detector_of_another_bundle_finds_no_faces(parts_bundle: Path, red_faces: None) -> None:
    plan = DecodingPlan(
        bundle=parts_bundle,
        pixels=open_bundle(parts_bundle).facts.pixels,
        sights=(),
        digest="0" * 64,
        file_bytes=1,
    )
    with pytest.raises(BundleError, match="another bundle"):
        prepare_decoding(plan.model_dump_json())


# --- what waits


def test_few_pictures_are_decoded_before_networks_can_see_them(
    bundle: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, most = 0, 0
    label, score, go_on = Batcher.label, Scorer.score, threading.Event()

    async def count(batcher: Batcher, picture):
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        try:
            return await label(batcher, picture)
        finally:
            waiting -= 1

    def score_late(*given):
        go_on.wait(60)
        return score(*given)

    files, answers = name_files(*[pictures[0].read_bytes()] * 48), []
    with open_client(bundle, ServiceLimits(seconds=60)) as client:
        monkeypatch.setattr(Batcher, "label", count)
        monkeypatch.setattr(Scorer, "score", score_late)
        ask = lambda: answers.append(client.post("/score", files=files))  # noqa: E731
        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_until(lambda: waiting == 2 * MOST)
        time.sleep(1)
        go_on.set()
        for thread in threads:
            thread.join()
    assert most == 2 * MOST
    assert [answer.status_code for answer in answers] == [200, 200]
