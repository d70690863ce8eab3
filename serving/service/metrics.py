"""What Prometheus is told."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BATCHES = (1, 2, 4, 8, 16)


class Metrics:
    """Counts of one service."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "forgerystack_requests",
            "Requests by path and code; 401, 408, 413, 429 and 503 were refused.",
            ("path", "code"),
            registry=registry,
        )
        self.seconds = Histogram(
            "forgerystack_request_seconds",
            "From the first byte of a request to its answer.",
            ("path",),
            buckets=SECONDS,
            registry=registry,
        )
        self.pictures = Counter(
            "forgerystack_pictures",
            "Pictures that were answered: scored or unreadable.",
            ("outcome",),
            registry=registry,
        )
        self.batches = Histogram(
            "forgerystack_batch_pictures",
            "Pictures that were scored together.",
            buckets=BATCHES,
            registry=registry,
        )
        self.losses = Counter(
            "forgerystack_worker_deaths",
            "Processes that died of a picture, or were killed for taking too long.",
            ("reason",),
            registry=registry,
        )
        for reason in ("died", "timeout"):  # so that 0 is told as well
            self.losses.labels(reason)

    def watch(self, name: str, what: str, measure: Callable[[], float]) -> None:
        """A figure that is measured whenever it is asked for."""
        Gauge(f"forgerystack_{name}", what, registry=self._registry).set_function(measure)

    def print_all(self) -> bytes:
        """As Prometheus reads them."""
        return generate_latest(self._registry)
