"""The digital source type of the IPTC, which generators and editors declare in XMP."""

import re

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
_PACKET = re.compile(rb"<x:xmpmeta\b.{0,262144}?</x:xmpmeta>", re.DOTALL)
_VALUE = re.compile(
    r"(?<![/\w.:-])(?:[\w.-]{1,40}:)?DigitalSourceType"
    r"(?:\s*=\s*[\"']|\s*>\s*|\s[^>]{0,200}?resource\s*=\s*[\"'])([^\"'<>]{1,500})"
)
"""As an attribute, as an element, or as a resource. No XML parser: packets come from anybody."""


def find_source_type(content: bytes | bytearray) -> Mark:
    """Of the first XMP packets, wherever the format has them."""
    packets = [match.group().decode("utf-8", "replace") for match in _PACKET.finditer(content)]
    packets += [text for keyword, text in read_texts(content) if keyword == "XML:com.adobe.xmp"]
    found = dict.fromkeys(value.strip() for packet in packets for value in _VALUE.findall(packet))
    return build_mark(KIND, [("says", explain_source_type(value)) for value in found])


def explain_source_type(value: str) -> str:
    """`trainedAlgorithmicMedia: made by a generative model`, from the whole address."""
    name = value.rstrip("/").rpartition("/")[2]
    meaning = MEANINGS.get(name)
    return f"{name}: {meaning}" if meaning else value
