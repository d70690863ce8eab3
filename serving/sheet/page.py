"""The sheet as one HTML file without scripts, which fetches nothing."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from serving.ensemble.ensemble import Ensemble
from serving.provenance.marks import shorten_text
from serving.sheet.blocks import BlockShares
from serving.sheet.covering import WHOLE, CoverMap
from serving.sheet.facts import SheetFacts, gather_facts
from serving.sheet.neighbours import NearPicture
from serving.sheet.pictures import SMALL, encode_map, encode_picture, encode_webp
from serving.sheet.words import (
    describe_explained,
    describe_faces,
    describe_known_rates,
    describe_nearness,
    describe_prior,
    describe_similarity,
    describe_stability,
    explain_label,
    format_probability,
    list_priors,
)
from stage2_ensemble.report.templates import render_html

PAGE = Path(__file__).parent


def build_sheet(ensemble: Ensemble, content: bytes | bytearray, name: str) -> str:
    """The page about a file's content; `name` is how it is called there.

    Same bundle, content and name, same text. Raises `PictureError` where it cannot be read.
    """
    return render_sheet(gather_facts(ensemble, content, name))


def render_sheet(facts: SheetFacts) -> str:
    """The whole file; all text is escaped by the template."""
    style = (PAGE / "sheet.css").read_text(encoding="utf-8")
    return render_html(PAGE / "sheet.html", **_build_page(facts), style=style)


def _build_page(facts: SheetFacts) -> dict[str, Any]:
    """What the template needs, in words."""
    height, width = facts.pixels.shape[:2]
    return {
        "name": shorten_text(facts.row.name),
        "size": f"{width:,} × {height:,} pixels",
        "picture": encode_picture(facts.pixels, frames=facts.faces or ()),
        "looked_at": describe_faces(facts),
        "label": facts.label,
        "probability": format_probability(facts.row.log_odds),
        "prior": describe_prior(facts.rules),
        "reason": explain_label(facts),
        "priors": list_priors(facts),
        "rates": describe_known_rates(facts),
        "stability": describe_stability(facts),
        "copies": _list_copies(facts),
        "explained": describe_explained(facts),
        "maps": [_describe_map(cover_map, facts) for cover_map in facts.maps],
        "shipped": facts.bundle.shipped,
        "base": f"{facts.shares.base:+.2f}" if facts.shares else "",
        "bars": _list_bars(facts.shares) if facts.shares else [],
        "near": [_describe_near(near) for near in facts.near],
        "near_of": facts.bundle.neighbours,
        "nearness": describe_nearness(facts.near),
        "marks": facts.marks,
        "made_of": f"forgerystack {version('forgerystack')}, bundle {facts.bundle_digest[:16]}, "
        f"file {facts.digest}",
    }


def _list_copies(facts: SheetFacts) -> list[dict[str, Any]]:
    """The file itself, then its changed copies."""
    rows = []
    for name, row in [("as it is", facts.row), *((row.name, row) for row in facts.copies)]:
        known = row.is_readable
        change = row.log_odds - facts.row.log_odds
        rows.append(
            {
                "name": name,
                "probability": format_probability(row.log_odds) if known else "",
                "change": f"{change:+.2f}" if known and row is not facts.row else "",
                "label": row.label if known else f"not read: {row.status}",
                "flips": row.name in facts.flips and row is not facts.row,
            }
        )
    return rows


def _describe_map(cover_map: CoverMap, facts: SheetFacts) -> dict[str, Any]:
    strongest = float(np.abs(cover_map.changes).max())
    frames = [cover_map.loudest] if cover_map.loudest else []
    return {
        "title": "all together" if cover_map.scorer == WHOLE else cover_map.scorer,
        "picture": encode_picture(facts.explained, SMALL, frames),
        "framed": bool(frames),
        "overlays": encode_map(cover_map),
        "probability": format_probability(cover_map.log_odds),
        "strongest": f"{strongest:.2f}",
    }


def _describe_near(near: NearPicture) -> dict[str, str]:
    return {
        "label": near.picture.label,
        "name": shorten_text(near.picture.name),
        "address": encode_webp(near.thumbnail),
        "told": describe_similarity(near.similarity, near.usual),
        "similarity": f"{near.similarity:.2f}",
    }


def _list_bars(shares: BlockShares) -> list[dict[str, Any]]:
    """Blocks as bars from a middle line; the longest takes half of the width."""
    longest = max((abs(value) for value in shares.blocks.values()), default=0.0) or 1.0
    return [
        {
            "name": shorten_text(name),
            "value": f"{value:+.2f}",
            "side": "fake" if value > 0 else "real",
            "width": f"{50 * abs(value) / longest:.1f}",
        }
        for name, value in shares.blocks.items()
    ]
