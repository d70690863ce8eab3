"""Uvicorn, ended by a signal once all requests in flight are answered."""

import logging
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from serving.service.service import Service

KEEP_ALIVE = 5
"""Seconds that a connection without a request stays open."""
_log = logging.getLogger("forgerystack")


class DrainingServer(uvicorn.Server):
    """The first SIGTERM or SIGINT stops new requests, the second one ends it at once."""

    def __init__(self, app: FastAPI, service: Service) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=int(service.limits.seconds) + 1,
            )
        )
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """As uvicorn calls it; the signal is not raised again in the end."""
        if self._service.status == "draining":
            self.should_exit = self.force_exit = True
        else:
            _log.info("serve: ends once %s requests are answered", self._service.admission.requests)
            self._service.drain()

    async def on_tick(self, counter: int) -> bool:
        """Whether it is over; ten times a second."""
        return await super().on_tick(counter) or self._service.is_over


def open_socket(host: str, port: int) -> socket.socket:
    """Listens on the first address of a name. Raises `OSError`."""
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(address, family=family, backlog=2048)
