"""All marks of origin that a file may bear.

marks = find_marks(Path("holiday.jpg").read_bytes(), NO_LIMITS)
[mark.kind for mark in marks if mark.state != "not found"]
"""

from features.settings.images import Limits
from serving.provenance.cameras import find_camera, read_exif
from serving.provenance.credentials import find_credentials
from serving.provenance.generators import find_generator_texts
from serving.provenance.marks import Mark
from serving.provenance.source_type import find_source_type


def find_marks(content: bytes | bytearray, limits: Limits) -> tuple[Mark, ...]:
    """One of each kind, found or not. Raises `ImageProblem` for what is no picture."""
    exif = read_exif(content, limits)
    return (
        find_credentials(content),
        find_source_type(content),
        find_generator_texts(content, exif),
        find_camera(exif),
    )
