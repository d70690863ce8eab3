"""The digital source type of the IPTC, which generators and editors declare in XMP."""

import itertools
import re
from collections.abc import Iterator

from serving.provenance.marks import Mark, build_mark
from serving.provenance.png_texts import read_texts

KIND = "Digital source type (IPTC)"
MEANINGS = {
    "trainedAlgorithmicMedia": "made by a generative model",
    "compositeWithTrainedAlgorithmicMedia": "with parts made by a generative model",
    "algorithmicMedia": "made by an algorithm that learned from no pictures",
    "compositeSynthetic": "put together, with synthetic parts",
    "composite": "put together",
    "digitalCapture": "taken by a digital camera",
    "computationalCapture": "taken by a camera that computes, such as a telephone's",
    "digitalCreation": "made by a person with software",
    "screenCapture": "a screenshot",
    "humanEdits": "changed by a person",
    "minorHumanEdits": "changed a little by a person",
    "algorithmicallyEnhanced": "enhanced by an algorithm",
}
"""Of http://cv.iptc.org/newscodes/digitalsourcetype/."""
_START, _END = b"<x:xmpmeta", b"</x:xmpmeta>"
_LONGEST = 1 << 18
"""Bytes of a packet."""
_MOST = 16
"""Packets that are looked through, and values that are told."""
_VALUE = re.compile(
    r"(?<![/\w.:-])(?:[\w.-]{1,40}:)?DigitalSourceType"
    r"(?:\s*=\s*[\"']|\s*>\s*|\s[^>]{0,200}?resource\s*=\s*[\"'])([^\"'<>]{1,500})"
)
"""As an attribute, as an element, or as a resource. No XML parser: packets come from anybody."""


def find_source_type(content: bytes | bytearray) -> Mark:
    """Of the first XMP packets, wherever the format has them."""
    texts = (text for keyword, text in read_texts(content) if keyword == "XML:com.adobe.xmp")
    packets = itertools.chain(_find_packets(content), (text[:_LONGEST] for text in texts))
    first = itertools.islice(packets, _MOST)
    found = dict.fromkeys(value.strip() for packet in first for value in _VALUE.findall(packet))
    told = itertools.islice(found, _MOST)
    return build_mark(KIND, [("says", explain_source_type(value)) for value in told])


def _find_packets(content: bytes | bytearray) -> Iterator[str]:
    """By their ends, so that each byte is looked at once, whatever starts without an end."""
    place = 0
    while (stop := content.find(_END, place)) >= 0:
        start = content.find(_START, max(place, stop - _LONGEST), stop)
        place = stop + len(_END)
        if start >= 0:
            yield bytes(content[start:place]).decode("utf-8", "replace")


def explain_source_type(value: str) -> str:
    """`trainedAlgorithmicMedia: made by a generative model`, from the whole address."""
    name = value.rstrip("/").rpartition("/")[2]
    meaning = MEANINGS.get(name)
    return f"{name}: {meaning}" if meaning else value
