"""Settings that all stages share which open images."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from features.settings.sections import Place, Section, StageParams

Format = Literal["JPEG", "PNG", "WEBP", "AVIF", "JPEG2000", "BMP", "GIF", "TIFF"]
FORMATS: tuple[Format, ...] = ("JPEG", "PNG", "WEBP", "AVIF", "JPEG2000", "BMP", "GIF", "TIFF")
"""Decoders that a file may reach at all."""
MAX_PIXELS = 178_956_970
"""Above it Pillow itself refuses."""


class Limits(Section):
    """Which images are used; the others are quarantined with the reason."""

    formats: Annotated[tuple[Format, ...], Field(min_length=1)] = FORMATS
    """Formats that are decoded, told by content and not by name."""
    max_pixels: Annotated[PositiveInt, Field(le=MAX_PIXELS)] = 50_000_000
    """Larger images are quarantined before they are decoded."""
    min_side: PositiveInt = 8
    """Images with a shorter side, in pixels, are quarantined."""
    max_aspect: Annotated[float, Field(ge=1)] = 20.0
    """Images whose long side is more than so many times the short one are quarantined."""
    video_frames: PositiveInt = 16
    """Of each video so many are looked at, evenly spread over its length; all of a shorter one."""
    max_video_frames: PositiveInt = 250_000
    """Videos of more frames are quarantined."""
    max_video_seconds: PositiveFloat = 7200.0
    """Longer videos are quarantined."""

    def find_problem(self, kind: str, width: int, height: int) -> str:
        """Why an image of this format and size is not used, or an empty string."""
        if kind in FORMATS and kind not in self.formats:
            return f"format {kind} is none of {', '.join(self.formats)}"
        return self.find_size_problem(width, height)

    def find_size_problem(self, width: int, height: int) -> str:
        """Why an image, or a frame of a video, of this size is not used, or an empty string."""
        if width * height > self.max_pixels:
            return f"{width} x {height} pixels, above max_pixels {self.max_pixels}"
        if min(width, height) < self.min_side:
            return f"{width} x {height} pixels: a side below min_side {self.min_side}"
        if max(width, height) > self.max_aspect * min(width, height):
            return f"{width} x {height} pixels: longer than max_aspect {self.max_aspect:g} allows"
        return ""

    def find_video_problem(self, frames: int, seconds: float) -> str:
        """Why a video with at least so many frames and seconds is not used, or an empty string."""
        if frames > self.max_video_frames:
            return f"a video of more frames than max_video_frames {self.max_video_frames}"
        if seconds > self.max_video_seconds:
            return f"a video longer than max_video_seconds {self.max_video_seconds:g}"
        return ""


NO_LIMITS = Limits(max_pixels=MAX_PIXELS, min_side=1, max_aspect=MAX_PIXELS)
"""Whatever decodes: for files that `prepare` has let through."""


class DataRoot(StageParams):
    """The one field of `data` that stages after `prepare` read."""

    root: Place


class LinkedData(DataRoot):
    """Where pictures are, and where their links may lead."""

    trusted: tuple[Place, ...] = ()


Mode = Literal["square", "fit", "crop"]


class Geometry(Section):
    """How a picture becomes the square that a network sees: a backbone may override it."""

    mode: Mode = "square"
    """`square`: stretched to a square of `images.size`. `fit`: its longest side becomes
    `images.size`, and the rest of the square is its mirror image. `crop`: its own pixels; training
    draws a square of `image_size` from it, scoring takes several on a fixed grid."""


class Faces(Section):
    """Whether the faces in pictures are rows."""

    faces: Literal["none", "crop", "both"] = "none"
    """`crop`: a square around each face stands in place of the picture; `both`: beside it, the rows
    of one picture being a unit. A picture in which no face is found stays whole."""
    face_count: Literal["largest", "all"] = "largest"
    """Which faces of a picture; all of one are a unit."""
    face_margin: Annotated[float, Field(ge=0, le=2)] = 0.3
    """Around a face, on each side, as a share of its longer side."""


class Images(StageParams):
    """How images are kept: what all stages read of `images`."""

    size: Annotated[int, Field(ge=16, le=2048)]
    """Side of the square, in pixels, that every image is resized to (antialiased)."""
    equalize: bool = False
    """Every image is re-encoded alike (JPEG, after resizing), so that files cannot betray their
    class by how they were saved. It costs traces of forgery too: only where the null model needs
    it."""
    store: Literal["auto", "raw", "none"] = "auto"
    """`raw`: decoded images are kept on disk, n × size² × 3 bytes, and those of modes other than
    `square` once more. `none`: decoded at each use. `auto`: `raw` where it fits into half of the
    free disk. The pixels are the same."""
    store_dir: Place = ".store"
    """Folder of the decoded images and of what is known about each file: a cache."""

    @property
    def image_bytes(self) -> int:
        """Of one square."""
        return self.size**2 * 3

    @property
    def pixel_settings(self) -> dict[str, object]:
        """What decides the pixels; where and whether they are kept does not."""
        return self.model_dump(mode="json", include={"size", "equalize"})


class PreparedImages(Images, Faces, extra="ignore"):
    """What `prepare` reads of `images`."""


class TrainedImages(Images, Geometry, extra="ignore"):
    """What members read of `images`; its `mode` is that of backbones that override none."""


class ImagesSection(PreparedImages, TrainedImages, extra="forbid"):
    """The whole section."""
