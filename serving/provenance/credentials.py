"""Content credentials: a signed manifest of the C2PA within the file.

Where `c2pa-python` is installed it says whether signature and content agree; else the manifest is
seen, and no more. Nothing is fetched from the network, and no list of trusted signers is asked.
"""

import io
import json
import re
from collections.abc import Mapping
from typing import Any

from serving.provenance.marks import Mark, MarkState, shorten_text
from serving.provenance.source_type import explain_source_type

KIND = "Content credentials (C2PA)"
_BOX = re.compile(rb"jumb.{4}jumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71", re.DOTALL)
"""The box that a manifest starts with, in any format (ISO 19566-5, C2PA 2.1)."""
_OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
UNTRUSTED = "signingCredential.untrusted"
_NOT_ASKED = "The signature holds. Whether the signer can be trusted was not asked."
_NEEDED = "pip install 'forgerystack[provenance]' to validate its signature."


def find_credentials(content: bytes | bytearray) -> Mark:
    """The manifest within the file, validated where that is possible."""
    if not _BOX.search(content):
        return Mark(KIND, "not found")
    try:
        import c2pa  # late: an extra
    except ImportError:
        return Mark(KIND, "not validated", note=_NEEDED)
    try:
        settings = c2pa.Context(c2pa.Settings.from_dict(_OFFLINE))
        with c2pa.Reader(None, io.BytesIO(content), context=settings) as reader:
            facts = json.loads(reader.json())
            state = reader.get_validation_state()
    except Exception as error:  # whatever the library says of a broken manifest
        return Mark(KIND, "signature invalid", note=shorten_text(f"It cannot be read: {error}"))
    return describe_credentials(facts, state)


def describe_credentials(facts: Mapping[str, Any], state: str | None) -> Mark:
    """`facts`: of `c2pa.Reader.json`; `state`: `Valid`, `Trusted` or `Invalid`."""
    manifest = facts.get("manifests", {}).get(facts.get("active_manifest"), {})
    signature = manifest.get("signature_info", {})
    makers = [
        f"{maker.get('name', '')} {maker.get('version', '')}".strip()
        for maker in manifest.get("claim_generator_info", [])
    ]
    values = [("made by", maker) for maker in makers if maker]
    values += [(name, str(signature[key])) for name, key in _SIGNED if signature.get(key)]
    values += [("says", text) for text in _list_actions(manifest)]
    cleaned = tuple((name, shorten_text(value)) for name, value in values)
    if state in ("Valid", "Trusted"):
        found: MarkState = "found"
        return Mark(KIND, found, cleaned, _NOT_ASKED)
    codes = [
        str(status.get("code"))
        for status in facts.get("validation_status", [])
        if status.get("code") != UNTRUSTED
    ]
    note = shorten_text(f"Signature and content do not agree: {', '.join(codes)}")
    return Mark(KIND, "signature invalid", cleaned, note)


_SIGNED = (("signed by", "issuer"), ("certificate", "common_name"), ("signed at", "time"))


def _list_actions(manifest: Mapping[str, Any]) -> list[str]:
    """`c2pa.created, trainedAlgorithmicMedia: made by a generative model`."""
    texts = []
    for assertion in manifest.get("assertions", []):
        if str(assertion.get("label", "")).startswith("c2pa.actions"):
            for action in assertion.get("data", {}).get("actions", []):
                source = action.get("digitalSourceType")
                text = str(action.get("action", ""))
                texts.append(f"{text}, {explain_source_type(str(source))}" if source else text)
    return texts[:8]
