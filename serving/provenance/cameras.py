"""What a camera writes into EXIF, and a reader of it that no block can break."""

from PIL import ExifTags, Image

from features.pixels.opening import open_image
from features.settings.images import Limits
from serving.provenance.marks import Mark, build_mark

KIND = "Camera (EXIF)"
_TAGS = (ExifTags.Base.Make, ExifTags.Base.Model)
_INNER_TAGS = (ExifTags.Base.DateTimeOriginal, ExifTags.Base.LensModel)


def read_exif(content: bytes | bytearray, limits: Limits) -> Image.Exif:
    """An empty block where there is none, or a broken one. Raises `ImageProblem`."""
    image = open_image(content, limits)
    try:
        exif = image.getexif()
        exif.get_ifd(ExifTags.IFD.Exif)
    except Exception:  # a broken block raises anything
        return Image.Exif()
    return exif


def find_camera(exif: Image.Exif) -> Mark:
    """Maker, model, lens, and when it was taken."""
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    values = [(tag.name, str(exif[tag])) for tag in _TAGS if exif.get(tag)]
    values += [(tag.name, str(inner[tag])) for tag in _INNER_TAGS if inner.get(tag)]
    return build_mark(KIND, values)
