"""The service as a process: its description, its end, its key."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from live_service import Live, hold_workers, serve, start_service, wait_until
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from features.errors import ConfigError
from serving.serve.run import VARIABLE, read_key


@pytest.fixture(scope="module")
def live(bundle: Path) -> Iterator[Live]:
    with serve(bundle, "--workers", "1") as live:
        yield live


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_answer_is_one_that_is_described(live: Live, mode: GenerationMode) -> None:
    """Codes, headers and bodies, for requests by the description and others.

    What the description cannot say is left out: which texts are base64. Too many pictures are
    refused by a code of their own.
    """
    description = schemathesis.openapi.from_url(live.address + "/openapi.json")
    operations = [found.ok() for found in description.get_all_operations()]
    assert {one.label for one in operations} >= {"POST /score", "POST /explain", "GET /healthz"}

    def check(operation: schemathesis.APIOperation) -> None:
        @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case) -> None:
            answer = case.call()
            excluded = [positive_data_acceptance]
            if answer.status_code == 413:
                excluded.append(negative_data_rejection)
            case.validate_response(answer, excluded_checks=excluded)

        ask()

    for operation in operations:
        if mode == GenerationMode.POSITIVE or operation.body:
            check(operation)


# --- the end


def test_sigterm_lets_requests_in_flight_be_answered(bundle: Path, pictures: list[Path]) -> None:
    answers: list[httpx2.Response] = []
    files = {"pictures": pictures[0].read_bytes()}
    with serve(bundle, "--workers", "1") as live:
        with hold_workers(live.process.pid):
            thread = threading.Thread(
                target=lambda: answers.append(live.client.post("/score", files=files))
            )
            thread.start()
            wait_until(lambda: "queue_requests 1.0" in live.client.get("/metrics").text)
            live.process.send_signal(signal.SIGTERM)
            wait_until(lambda: live.client.get("/healthz").status_code == 503)
            refused = live.client.post("/score", files=files)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert live.client.get("/healthz").json() == {"status": "draining"}
            assert live.process.poll() is None
        thread.join()
        assert live.process.wait(30) == 0
    assert answers[0].json()["pictures"][0]["status"] == "ok"


def test_a_service_that_starts_ends_as_well(bundle: Path) -> None:
    process, address = start_service(bundle, "--workers", "1")
    assert httpx2.get(address + "/healthz", timeout=60).json() == {"status": "starting"}
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "Traceback" not in output


# --- what it does not start with


def run_command(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "serving.serve", *options]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | variables, timeout=60
    )


def test_where_others_reach_it_it_needs_a_key(bundle: Path) -> None:
    done = run_command("--bundle", str(bundle), "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 2
    assert "0.0.0.0 without an API key" in done.stderr
    assert "--api-key-file" in done.stderr


@pytest.mark.parametrize("seconds", ["inf", "nan", "1e300", "0"])
def test_seconds_without_a_bound_are_refused(bundle: Path, seconds: str) -> None:
    done = run_command("--bundle", str(bundle), "--port", "0", "--max-seconds", seconds)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "--max-seconds" in done.stderr


def test_what_is_no_bundle_or_no_free_port_is_said(
    bundle: Path, tmp_path: Path, live: Live
) -> None:
    done = run_command("--bundle", str(tmp_path), "--port", "0")
    assert done.returncode == 2
    assert "no bundle" in done.stderr
    done = run_command("--bundle", str(bundle), "--port", live.address.rpartition(":")[2])
    assert done.returncode == 2
    assert "Address already in use" in done.stderr


def test_a_key_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert read_key(None) is None
    (path := tmp_path / "key").write_text("f" * 20 + "\n")
    assert read_key(path) == "f" * 20
    monkeypatch.setenv(VARIABLE, "e" * 20)
    assert read_key(None) == "e" * 20
    assert read_key(path) == "f" * 20


@pytest.mark.parametrize("key", ["", "short", "with spaces in the midst of it", "ü" * 20])
def test_a_key_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    (path := tmp_path / "key").write_text(key, encoding="utf-8")
    with pytest.raises(ConfigError, match="at least 16 ASCII characters"):
        read_key(path)
    monkeypatch.setenv(VARIABLE, key)
    with pytest.raises(ConfigError, match=VARIABLE):
        read_key(None)
