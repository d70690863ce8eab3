"""What `python -m serving.serve` does."""

import ipaddress
import logging
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from features.errors import ConfigError
from features.runtime.memory import count_workers
from serving.format.files import read_bundle_sums
from serving.serve.server import DrainingServer, open_socket
from serving.service.app import build_app
from serving.service.limits import ServiceLimits
from serving.service.service import Service

VARIABLE = "FORGERYSTACK_API_KEY"
SHORTEST = 16
"""Characters of a key."""
_log = logging.getLogger("forgerystack")


@dataclass(frozen=True)
class ServeTask:
    """The options of the command."""

    bundle: Path
    host: str
    port: int
    workers: int | None
    api_key_file: Path | None
    limits: ServiceLimits
    prior: float | None = None


def run(task: ServeTask) -> None:
    """Until a signal ends it. Raises `ConfigError` and `BundleError`."""
    key = read_key(task.api_key_file)
    if key is None and not _is_loopback(task.host):
        advice = f"Others reach it there: name a key with --api-key-file, or in {VARIABLE}."
        raise ConfigError("--host", [f"{task.host} without an API key"], advice)
    read_bundle_sums(task.bundle)  # its files are checked while the service starts
    service = Service(task.bundle, task.limits, task.workers or count_workers(), task.prior)
    server = DrainingServer(build_app(service, key), service)
    with _listen(task) as listener:
        host, port = listener.getsockname()[:2]
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        _log.info("serve: http://%s, bundle %s", place, task.bundle)
        server.run(sockets=[listener])
    if service.failure:
        raise service.failure


def _listen(task: ServeTask) -> socket.socket:
    try:
        return open_socket(task.host, task.port)
    except OSError as error:
        problem = f"{task.host}, port {task.port}: {error.strerror}"
        raise ConfigError("--host, --port", [problem]) from None


def read_key(path: Path | None) -> str | None:
    """That of the file, else of the environment; `None` without both. Raises `ConfigError`."""
    if path is None:
        source, key = VARIABLE, os.environ.get(VARIABLE)
        if key is None:
            return None
    else:
        source = str(path)
        try:
            key = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("--api-key-file", [f"{path} cannot be read: {error}"]) from None
    key = key.strip()
    if len(key) < SHORTEST or not all("!" <= sign <= "~" for sign in key):
        problem = f"a key is at least {SHORTEST} ASCII characters without spaces"
        raise ConfigError(source, [problem], "openssl rand -hex 32 makes one.")
    return key


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
