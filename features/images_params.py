"""Settings that all stages share which open images."""

from typing import Annotated

from pydantic import Field

from features.params import Section, StageParams


class DataRoot(StageParams):
    """The one field of `data` that stages after `prepare` read."""

    root: str


class Images(Section):
    """How images are kept."""

    size: Annotated[int, Field(ge=16, le=2048)]
    """Side of the square, in pixels, that every image is resized to (antialiased)."""
    store_dir: str = ".store"
    """Folder of the decoded images: a cache, n × size² × 3 bytes for each role."""
