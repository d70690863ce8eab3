"""The page on which pictures are tried: one answer, nothing from elsewhere."""

import base64
import hashlib
from pathlib import Path

from stage2_ensemble.report.templates import render_html

_FOLDER = Path(__file__).parent
_POLICY = (
    "default-src 'none'; script-src 'sha256-{script}'; style-src 'unsafe-inline'; "
    "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""The evidence in its frame inherits it: hence the styles and pictures within the page."""
SHEET_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"
"""Of evidence that is opened by itself."""


def build_try_page(needs_key: bool) -> str:
    """HTML; with a field for the key where one is needed."""
    parts = {"style": _read("page.css"), "script": _read("page.js")}
    return render_html(_FOLDER / "page.html", **parts, needs_key=needs_key)


def build_policy() -> str:
    """The `Content-Security-Policy` of the page, which knows its script by its sha256."""
    digest = hashlib.sha256(_read("page.js").encode()).digest()
    return _POLICY.format(script=base64.b64encode(digest).decode())


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
