"""What the service refuses, and with which code."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import numpy as np
import pytest
from fastapi.testclient import TestClient
from live_service import hold_workers, wait_until
from PIL import Image
from service_client import SMALL, ask_aside, name_files, open_client, read_metric

from serving.scoring.scorer import Scorer
from serving.service.app import build_app
from serving.service.limits import Admission, Refusal, ServiceLimits
from serving.service.service import Service

KEY = "k" * 32


@pytest.fixture(scope="module")
def client(bundle: Path) -> Iterator[TestClient]:
    with open_client(bundle) as client:
        yield client


def encode(content: bytes, name: str = "") -> dict[str, str]:
    return {"name": name, "content": base64.b64encode(content).decode()}


# --- what is answered


def test_files_and_json_are_scored_as_the_library_scores_them(
    client: TestClient, ensemble, pictures: list[Path]
) -> None:
    contents = [path.read_bytes() for path in pictures[:3]]
    expected = [row.score for row in ensemble.label(contents)]
    by_form = client.post("/score", files=name_files(*contents)).json()
    by_json = client.post("/score", json={"pictures": [*map(encode, contents)]}).json()
    for answer in (by_form, by_json):
        found = answer["pictures"]
        np.testing.assert_allclose([one["score"] for one in found], expected, atol=1e-6)
        assert {one["status"] for one in found} == {"ok"}
        assert answer["bundle"] == ensemble.bundle.digest
    assert [one["name"] for one in by_form["pictures"]] == ["0.jpg", "1.jpg", "2.jpg"]
    assert [one["name"] for one in by_json["pictures"]] == ["0", "1", "2"]


def test_one_bad_picture_costs_only_its_own_answer(
    client: TestClient, pictures: list[Path], tmp_path: Path
) -> None:
    good = pictures[0].read_bytes()
    Image.new("L", (201, 200)).save(tmp_path / "large.png")
    sent = name_files(good[: len(good) // 2], good, (tmp_path / "large.png").read_bytes())
    cut, whole, large = client.post("/score", files=sent).json()["pictures"]
    assert whole["status"] == "ok"
    assert cut["status"].startswith("unreadable: does not decode")
    assert "above max_pixels 40000" in large["status"]
    assert cut["score"] is cut["label"] is cut["log_odds"] is None


def test_names_come_back_as_they_were_sent_and_in_every_encoding(
    client: TestClient, pictures: list[Path]
) -> None:
    name = '<img src=x onerror="alert(1)">é.png'
    content = pictures[0].read_bytes()
    answer = client.post("/score", json={"pictures": [encode(content, name)]})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["pictures"][0]["name"] == name
    head = b'--b\r\nContent-Disposition: form-data; name="pictures"; filename="\xff\xed\xa0.png"'
    body = head + b"\r\n\r\n" + content + b"\r\n--b--\r\n"
    kind = {"content-type": "multipart/form-data; boundary=b"}
    assert client.post("/score", content=body, headers=kind).status_code == 200


# --- what is refused


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"files": name_files(b"x" * 50_001)}, 413, "a picture has more than"),
        ({"files": name_files(*[b"x"] * 4)}, 413, "at most 3"),
        ({"files": name_files(*[b"x"] * 400)}, 413, "Too many files"),
        ({"files": name_files(*[b"x" * 45_000] * 3)}, 413, "the body has more than"),
        ({"files": name_files(b"x" * 10_000_000)}, 413, "the body has more than"),
        ({"json": {"pictures": [{"content": ""}] * 4}}, 413, "at most 3"),
        ({"json": {"pictures": []}}, 422, "there are no pictures"),
        ({"json": {"pictures": [{"content": "?"}]}}, 422, "it is no base64"),
        ({"json": {"pictures": [{"content": 7}]}}, 422, "pictures.0.content"),
        ({"json": {"pictures": [{"content": "", "path": "/etc"}]}}, 422, "pictures.0.path"),
        ({"json": {"pictures": [], "x" * 90_000: 1}}, 422, "x: Extra inputs"),
        ({"json": []}, 422, "object"),
        ({"files": [("file", b"x")]}, 422, "files of a form are named pictures"),
        ({"data": {"pictures": "x"}, "files": name_files(b"x")}, 422, "Too many fields"),
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "send multipart"),
        ({"content": b"x"}, 415, "send multipart"),
        (
            {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
            422,
            "Missing boundary",
        ),
        (
            {"content": b"--b\r\nx", "headers": {"content-type": "multipart/form-data;boundary=b"}},
            422,
            "the form is cut off",
        ),
        (
            {"content": b"b", "headers": {"content-type": "multipart/form-data;boundary=b"}},
            422,
            "the form cannot be read",
        ),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 422, "Invalid JSON"),
    ],
)  # fmt: skip
def test_a_body_that_is_none_is_refused(client: TestClient, body, code: int, words: str) -> None:
    answer = client.post("/score", **body)
    assert answer.status_code == code, answer.text
    assert words in answer.json()["detail"]


def test_small_json_takes_little_memory() -> None:
    """In a process of its own: what memory was taken at most is that of a process."""
    code = """
import resource, sys
from serving.service.bodies import _parse_json
from serving.service.limits import Refusal
def measure(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = measure()
for item in (b"0", b"{}", b'{"content":""}', b"[[]]", b'{"a":0,"b":0}'):
    body = b'{"pictures":[' + b",".join([item] * (4_000_000 // (len(item) + 1))) + b"]}"
    try:
        sys.exit(f"{len(_parse_json([body], 64))} pictures were taken")
    except Refusal as refusal:
        assert refusal.status_code == 413, refusal
assert measure() < before + 64, measure() - before
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_names_may_have_as_many_commas_as_characters(
    client: TestClient, pictures: list[Path]
) -> None:
    sent = [encode(path.read_bytes(), "," * 255) for path in pictures[:3]]
    assert client.post("/score", json={"pictures": sent}).status_code == 200
    one_more = [encode(b"", "," * 255), encode(b"", "," * 256)]
    assert client.post("/score", json={"pictures": one_more}).status_code == 422


def test_every_code_is_told_beforehand(client: TestClient) -> None:
    told = client.get("/openapi.json").json()["paths"]["/score"]["post"]["responses"]
    assert {"200", "401", "408", "413", "415", "422", "429", "503"} <= set(told)


def test_a_body_that_does_not_end_is_refused(bundle: Path) -> None:
    limits = ServiceLimits(seconds=0.5)
    with open_client(bundle, limits) as client:
        sent: list[dict] = []

        async def ask() -> None:
            chunks = [{"type": "http.request", "body": b"{", "more_body": True}]

            async def receive():
                if not chunks:
                    await anyio.sleep_forever()
                return chunks.pop()

            async def send(message) -> None:
                sent.append(message)

            headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
            scope = {"type": "http", "method": "POST", "path": "/score", "headers": headers}
            scope |= {"query_string": b"", "http_version": "1.1", "scheme": "http"}
            await client.app(scope, receive, send)

        assert client.portal
        client.portal.call(ask)
    assert sent[0]["status"] == 408
    assert "took longer than 0.5 s" in json.loads(sent[1]["body"])["detail"]


def test_bodies_that_are_refused_hold_nothing() -> None:
    admission = Admission(ServiceLimits(requests=2, body_bytes=10))
    with admission.admit() as first, admission.admit() as second:
        first.take(50)
        second.take(30)
        with pytest.raises(Refusal, match="429"):
            second.take(1)
        first.release()
        second.take(1)
        assert admission.bytes == 31
        with pytest.raises(Refusal, match="the queue is full"), admission.admit():
            pass
    assert (admission.requests, admission.bytes) == (0, 0)


def test_a_full_queue_says_when_to_come_back(client: TestClient, pictures: list[Path]) -> None:
    content, answers = pictures[0].read_bytes(), []
    with hold_workers(os.getpid()):
        thread = ask_aside(client, content, answers)
        wait_until(lambda: read_metric(client, "forgerystack_queue_requests"))
        refused = client.post("/score", files=name_files(content))
    thread.join()
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert answers[0].status_code == 200
    assert read_metric(client, "forgerystack_queue_bytes") == 0


def test_an_error_of_the_service_is_said_without_what_it_was(
    bundle: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = name_files(pictures[0].read_bytes())
    with open_client(bundle) as client:
        quiet = TestClient(client.app, base_url="http://127.0.0.1", raise_server_exceptions=False)
        quiet.portal = client.portal
        with monkeypatch.context() as patch:
            patch.setattr(Scorer, "score", lambda *_: 1 / 0)
            answer = quiet.post("/score", files=files)
        assert answer.status_code == 500
        assert answer.json() == {"detail": "an error of the service, which its log tells"}
        assert client.post("/score", files=files).status_code == 200


# --- who may ask


def test_with_a_key_nobody_asks_without_it(bundle: Path, pictures: list[Path]) -> None:
    files = name_files(pictures[0].read_bytes())
    with open_client(bundle, key=KEY) as client:
        for headers in ({}, {"authorization": "Bearer nope"}, {"authorization": "Basic " + KEY}):
            for ask in (client.get, client.post):
                path = "/metrics" if ask == client.get else "/score"
                answer = ask(path, headers=headers)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
        headers = {"authorization": "Bearer " + KEY}
        assert client.post("/score", files=files, headers=headers).status_code == 200
        assert client.get("/metrics", headers=headers).status_code == 200
        assert client.get("/healthz").status_code == 200
        assert 'type="password"' in client.get("/").text


def test_without_a_key_only_this_machines_names_are_answered(client: TestClient) -> None:
    ask: Callable = client.get
    for name, code in (("127.0.0.1:8000", 200), ("localhost", 200), ("[::1]:80", 200),
                       ("evil.example", 400), ("127.0.0.1.evil.example", 400)):  # fmt: skip
        assert ask("/healthz", headers={"host": name}).status_code == code, name


def test_nothing_is_ready_where_the_bundle_is_none(tmp_path: Path) -> None:
    service = Service(tmp_path, SMALL, workers=1)
    with TestClient(build_app(service), base_url="http://127.0.0.1") as client:
        wait_until(lambda: service.failure)
        assert client.get("/healthz").json() == {"status": "starting"}
        refused = client.post("/score", files=name_files(b"x"))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert "no bundle" in str(service.failure)
