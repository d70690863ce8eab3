"""Marks of origin: found where they are, cleaned, and never trusted."""

import io
import sys
import time

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin
from signed_picture import sign_picture

from features.settings.images import NO_LIMITS
from serving.provenance import cameras, credentials, generators, source_type
from serving.provenance.finding import find_marks
from serving.provenance.marks import LONGEST, Mark, shorten_text

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description {} </rdf:RDF></x:xmpmeta>"""
TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
SAID = "trainedAlgorithmicMedia: made by a generative model"


def save(kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind, **options)
    return buffer.getvalue()


def find(content: bytes, kind: str) -> Mark:
    [mark] = [mark for mark in find_marks(content, NO_LIMITS) if mark.kind == kind]
    return mark


def build_exif(tags: dict, inner: dict) -> Image.Exif:
    exif = Image.Exif()
    exif.update(tags)
    exif.get_ifd(ExifTags.IFD.Exif).update(inner)
    return exif


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_plain_picture_bears_no_mark(kind):
    assert {mark.state for mark in find_marks(save(kind), NO_LIMITS)} == {"not found"}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("keyword", ["parameters", "prompt", "workflow", "Software"])
def test_texts_of_generators_are_found_in_a_png(keyword, packed):
    texts = PngImagePlugin.PngInfo()
    texts.add_text(keyword, "a cat, Steps: 20", zip=packed)
    texts.add_itxt("Title", "Kätzchen", zip=packed)
    texts.add_text("Date", "is nobody's")
    mark = find(save("PNG", pnginfo=texts), generators.KIND)
    assert mark.values == ((keyword, "a cat, Steps: 20"), ("Title", "Kätzchen"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_cameras_and_generators_are_found_in_exif(kind):
    comment = b"UNICODE\0" + "a cat, Steps: 20".encode("utf-16-be")
    tags = {ExifTags.Base.Make: "Maker", ExifTags.Base.Model: "M1", ExifTags.Base.Software: "S"}
    inner = {
        ExifTags.Base.DateTimeOriginal: "2026:01:02 03:04:05",
        ExifTags.Base.UserComment: comment,
    }
    content = save(kind, exif=build_exif(tags, inner))
    assert dict(find(content, cameras.KIND).values) == {
        "Make": "Maker",
        "Model": "M1",
        "DateTimeOriginal": "2026:01:02 03:04:05",
    }
    assert dict(find(content, generators.KIND).values) == {
        "Software": "S",
        "UserComment": "a cat, Steps: 20",
    }


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le", "utf-16"])
@pytest.mark.parametrize("text", ["a cat, Steps: 20", "кошка на окне", "一只猫坐在窗边看着"])
def test_comments_of_exif_are_read_in_either_order_of_bytes(encoding, text):
    comment = b"UNICODE\0" + text.encode(encoding)
    exif = build_exif({}, {ExifTags.Base.UserComment: comment})
    mark = find(save("JPEG", exif=exif), generators.KIND)
    assert mark.values == (("UserComment", text),)


@pytest.mark.parametrize(
    "form",
    [
        f'Iptc4xmpExt:DigitalSourceType="{TRAINED}"/>',
        f"><Iptc4xmpExt:DigitalSourceType>{TRAINED}</Iptc4xmpExt:DigitalSourceType>",
        f'><Iptc4xmpExt:DigitalSourceType rdf:resource="{TRAINED}"/>',
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_the_source_type_is_found_in_xmp(kind, form):
    mark = find(save(kind, xmp=XMP.format(form).encode()), source_type.KIND)
    assert mark.values == (("says", SAID),)


def test_the_source_type_is_found_in_a_packed_text_of_a_png():
    texts = PngImagePlugin.PngInfo()
    packet = XMP.format(f'Iptc4xmpExt:DigitalSourceType="{TRAINED}"/>')
    texts.add_itxt("XML:com.adobe.xmp", packet, zip=True)
    assert find(save("PNG", pnginfo=texts), source_type.KIND).values == (("says", SAID),)


@pytest.mark.parametrize(
    "piece", [b"<x:xmpmeta ", b"</x:xmpmeta>", b"<x:xmpmeta></x:xmpmeta>", b"DigitalSourceType ="]
)
def test_time_for_packets_grows_with_the_file_alone(piece):
    start = time.process_time()
    packet = XMP.format(f'Iptc4xmpExt:DigitalSourceType="{TRAINED}"/>').encode()
    content = packet + piece * (2_000_000 // len(piece))
    assert source_type.find_source_type(content).values == (("says", SAID),)
    assert time.process_time() - start < 5


def test_a_start_far_before_hides_no_packet_and_few_values_are_told():
    inner = XMP.format(f'Iptc4xmpExt:DigitalSourceType="{TRAINED}"/>')
    content = b"<x:xmpmeta " + b" " * 300_000 + inner.encode()
    assert source_type.find_source_type(content).values == (("says", SAID),)
    many = "".join(f" DigitalSourceType='{place}'" for place in range(9000))
    assert len(source_type.find_source_type(XMP.format(many).encode()).values) == 16


def test_a_signed_manifest_is_validated():
    mark = find(sign_picture("a\u202e generator"), credentials.KIND)
    assert mark.state == "found"
    assert mark.values[:2] == (("made by", "a generator 1"), ("signed by", "Tests"))
    assert ("says", f"c2pa.created, {SAID}") in mark.values
    assert "Whether the signer can be trusted was not asked" in mark.note


def test_a_signature_over_other_pixels_is_invalid():
    content = bytearray(sign_picture())
    content[-300] ^= 1
    mark = find(content, credentials.KIND)
    assert mark.state == "signature invalid"
    assert "assertion.dataHash.mismatch" in mark.note


def test_a_broken_manifest_is_invalid():
    content = bytearray(sign_picture())
    start = content.index(b"jumb") + 60
    content[start : start + 400] = bytes(400)
    assert find(content, credentials.KIND).state == "signature invalid"


def test_without_its_library_a_manifest_is_seen_and_not_believed(monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    box = b"jumb\0\0\0\x1ejumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71\3c2pa\0"
    mark = find(save("JPEG") + box, credentials.KIND)
    assert mark.state == "not validated"
    assert "forgerystack[provenance]" in mark.note


def test_texts_are_cut_and_made_visible():
    assert shorten_text("a\u202eb\x1b[31m\nc\0") == "a b [31m c"
    assert shorten_text(" \n") == "–"
    long = shorten_text("x" * 1_000_000)
    assert len(long) < LONGEST + 40
    assert long.endswith("(1,000,000 characters)")


def test_a_packed_text_of_any_size_costs_little():
    texts = PngImagePlugin.PngInfo()
    texts.add_text("prompt", "x" * 50_000_000, zip=True)
    [(_, text)] = find(save("PNG", pnginfo=texts), generators.KIND).values
    assert len(text) < LONGEST + 40


def test_broken_exif_is_no_mark():
    content = save("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01" * 40)
    assert find(content, cameras.KIND).state == "not found"
