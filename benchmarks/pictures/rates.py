"""Pictures a second."""

import time
from collections.abc import Callable


def measure(run: Callable[[], object], images: int) -> float:
    """Images a second."""
    start = time.perf_counter()
    run()
    return images / (time.perf_counter() - start)
