"""What the service takes at most, and how it refuses what is more."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException

from serving.service.answers import Problem

BODIES_AT_ONCE = 8
"""As many of the largest requests are held in memory; where more come they get 429."""


@dataclass(frozen=True)
class ServiceLimits:
    """All that bounds a request; bytes and seconds."""

    requests: int = 64
    """That wait or are answered at a time."""
    pictures: int = 64
    """Of one request."""
    file_bytes: int = 20 << 20
    """Of one picture."""
    body_bytes: int = 64 << 20
    """Of one request."""
    pixels: int = 50_000_000
    """Of one picture; a bundle may allow fewer."""
    seconds: float = 30.0
    """For a request to arrive, and again for its answer."""

    @property
    def decoding_seconds(self) -> float:
        """For one picture: so a request outlives one that does not end."""
        return self.seconds / 3

    @property
    def explaining_seconds(self) -> float:
        """For the evidence on one picture: so a request outlives that as well."""
        return 0.9 * self.seconds


class Refusal(HTTPException):
    """A request that is not answered, and why."""

    def __init__(self, code: int, reason: str, retry_after: int | None = None) -> None:
        """`retry_after`: seconds after which it is worth another try."""
        headers: dict[str, str] = {}
        if retry_after is not None:
            headers["Retry-After"] = str(retry_after)
        if code == 401:
            headers["WWW-Authenticate"] = "Bearer"
        super().__init__(code, reason, headers)


class Admission:
    """Counts requests and bytes that are held, and refuses what would be too many."""

    def __init__(self, limits: ServiceLimits) -> None:
        self._limits = limits
        self._most_bytes = BODIES_AT_ONCE * limits.body_bytes
        self.requests = 0
        self.bytes = 0

    @contextmanager
    def admit(self) -> Iterator["Holding"]:
        """For as long as a request is read and answered. Raises `Refusal`."""
        if self.requests >= self._limits.requests:
            raise Refusal(429, "the queue is full", retry_after=1)
        holding = Holding(self)
        self.requests += 1
        try:
            yield holding
        finally:
            self.requests -= 1
            holding.release()

    def take(self, count: int) -> None:
        """`count` bytes more. Raises `Refusal`."""
        if self.bytes + count > self._most_bytes:
            raise Refusal(429, "other requests take all memory that there is", retry_after=1)
        self.bytes += count


class Holding:
    """What one request holds."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.bytes = 0

    def take(self, count: int) -> None:
        """`count` bytes more. Raises `Refusal`."""
        self._admission.take(count)
        self.bytes += count

    def release(self) -> None:
        """All that it holds."""
        self._admission.bytes -= self.bytes
        self.bytes = 0


REFUSALS = {
    400: "The address that it was sent to is none of this service.",
    401: "No key, or another one.",
    408: "The body did not arrive in time.",
    413: "More bytes or pictures than the service takes.",
    415: "Neither multipart/form-data nor application/json.",
    422: "The body holds no pictures, or cannot be read.",
    429: "The queue is full: again after Retry-After seconds.",
    500: "An error of the service.",
    503: "The service starts, ends, or took too long: again after Retry-After seconds.",
}
"""Codes that `POST` may be answered with."""


def describe_refusals() -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: by code, its reason and the form of the answer."""
    retry = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    problem = {"application/json": {"schema": Problem.model_json_schema()}}
    text = {"text/plain": {"schema": {"type": "string"}}}
    return {
        code: {
            "description": reason,
            "content": text if code == 400 else problem,
            **({"headers": retry} if code in (429, 503) else {}),
        }
        for code, reason in REFUSALS.items()
    }
