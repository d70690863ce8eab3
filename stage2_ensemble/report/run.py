"""What `python -m stage2_ensemble.report` does.

run(load_params(ReportParams))                   # writes artifacts/report.html
"""

import base64
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.artifacts.gradcam import read_gradcam
from features.core.files import digest_json, read_json, read_sealed, write_text
from features.core.manifest import Manifest, read_manifest
from features.core.sums import check_sums
from features.core.trusted import find_trusted
from features.errors import StaleArtifactError
from features.settings.report import ReportParams
from stage2_ensemble.charts.charts import build_charts, render_svg
from stage2_ensemble.display.closing import print_closing
from stage2_ensemble.display.layout import TextTable
from stage2_ensemble.display.tables import list_tables
from stage2_ensemble.fitted.bundle import read_ensemble
from stage2_ensemble.fitted.ensemble import check_members
from stage2_ensemble.gallery.choosing import BY_CHANCE
from stage2_ensemble.gallery.facts import FACTS, FORM
from stage2_ensemble.report.model_card import build_card
from stage2_ensemble.report.pictures import PICTURE_FORMATS, PictureFormat, Pictures, encode_heats
from stage2_ensemble.report.questions import Answer, answer_questions
from stage2_ensemble.report.templates import render_html
from stage2_ensemble.results.form import Metrics, has_val, name_shipped
from stage2_ensemble.results.metrics_file import read_metrics
from stage2_ensemble.sentences.rules import list_rules
from stage2_ensemble.sentences.scorers import list_cautions

METRICS = Path("artifacts/metrics.json")
SUMS = Path("artifacts/evaluate.sums.json")
STACKERS = Path("artifacts/stackers")
GALLERY = Path("artifacts/gallery")
GRADCAM = Path("artifacts/gradcam")
MANIFEST = Path("artifacts/manifest")
LABELS = Path("artifacts/labels.csv")
OUT = Path("artifacts")
PAGE = Path(__file__).parent
MOST_BYTES = 9_500_000
"""A mail takes 10 MB. Pictures get smaller until the page does not hold more."""
_log = logging.getLogger("forgerystack")


def run(params: ReportParams, out: Path = OUT) -> None:
    """Reads what all stages found, writes the page, and ends with a short table."""
    check_sums(SUMS, "evaluate", METRICS.name)
    metrics = read_metrics(METRICS)
    ensemble = read_ensemble(STACKERS)
    val = read_manifest(MANIFEST, "val")
    gallery = read_sealed(GALLERY / FACTS, "gallery", FORM)
    if gallery["val_manifest"] != val.digest:
        found, wanted = gallery["val_manifest"][:8], val.digest[:8]
        raise StaleArtifactError(GALLERY / FACTS, f"val {found}", f"val {wanted}", "gallery")
    heats, mapless = _read_heats(val, gallery)
    check_members(ensemble, params.names, params.folds.active)
    answers = answer_questions(metrics, ensemble.verdicts, ensemble.gate_choice)
    tables = list_tables(metrics)
    page = build_page(metrics, read_plots(), answers, tables, params.data.root)
    page["gallery_lead"] = describe_gallery(gallery, mapless)
    trusted = find_trusted(params.data.trusted)
    pictures = Pictures(Path(params.data.root), params.images, trusted)
    text = fit_page(page, gallery, pictures, heats)
    write_text(out / "report.html", text)
    (summary_path,) = check_sums(MANIFEST / "prepare.sums.json", "prepare", "summary.json")
    summary = read_json(summary_path, "prepare")
    members = (params.backbones, params.outside)
    known = (metrics, answers, tables, summary, *members)
    # In the bundle: it goes where the models go.
    card = build_card(*known, params.data.root, params.images.mode, params.images.size)
    write_text(out / "stackers" / "MODEL_CARD.md", card)
    _log.info("report: %s, %.1f MB", out / "report.html", len(text.encode()) / 1e6)
    print_closing(metrics, out / "report.html", LABELS)


def read_plots() -> dict[str, pd.DataFrame]:
    """Every table behind a figure, by its name."""
    return {
        path.stem: pd.read_csv(path, keep_default_na=False, na_values=[""])
        for path in check_sums(SUMS, "evaluate", "plots/*.csv")
    }


def _read_heats(
    val: Manifest, gallery: Mapping[str, Any]
) -> tuple[list[dict[str, np.ndarray]], list[str]]:
    """Grad-CAM maps of each row of the gallery, by backbone; and the backbones without any."""
    rows = np.array([entry["row"] for entry in gallery["rows"]], np.int64)
    found = read_gradcam(GRADCAM, val.digest, rows)
    maps = found.maps.items()
    heats = [{name: heat[place] for name, heat in maps} for place in range(len(rows))]
    return heats, [name for name, layer in found.layers.items() if layer is None]


def build_page(
    metrics: Metrics,
    plots: Mapping[str, pd.DataFrame],
    answers: list[Answer],
    tables: list[TextTable],
    source: str,
) -> dict[str, Any]:
    """All that the template needs but for pictures."""
    charts = build_charts(metrics, plots)
    shipped = name_shipped(metrics)
    rows = metrics["rows"]["val"]
    lead = f"{source}: {rows['reals']:,} reals and {rows['fakes']:,} fakes of val, {shipped} ships"
    notes = []
    if has_val(metrics):
        notes = [*list_cautions(metrics["val"]["stack"], rows["reals"]), *list_rules(metrics)]
    return {
        "title": f"Real or forged: {source}",
        "lead": lead if has_val(metrics) else f"{source}: no held-out val, {shipped} ships",
        "answers": answers,
        "charts": [
            {"name": c.name, "title": c.title, "text": c.text, "svg": render_svg(c)} for c in charts
        ],
        "tables": tables,
        "notes": notes,
        "made_of": f"Made by forgerystack from metrics {digest_json(dict(metrics))[:12]}.",
    }


def fit_page(
    page: Mapping[str, Any],
    gallery: Mapping[str, Any],
    pictures: Pictures,
    heats: list[dict[str, np.ndarray]],
    most: int = MOST_BYTES,
) -> str:
    """The page with the best pictures that it has room for."""
    text = ""
    for picture_format in PICTURE_FORMATS:
        text = render_page(page, add_pictures(gallery, pictures, heats, picture_format))
        if len(text.encode()) <= most:
            break
    return text


def add_pictures(
    gallery: Mapping[str, Any],
    pictures: Pictures,
    heats: list[dict[str, np.ndarray]],
    picture_format: PictureFormat,
) -> dict[str, Any]:
    """What the page's script reads: the gallery, each row with its pictures."""

    def add(entry: Mapping[str, Any], is_small: bool = True) -> dict[str, Any]:
        return {**entry, "picture": pictures.encode(entry["path"], picture_format, is_small)}

    rows = []
    for entry, maps in zip(gallery["rows"], heats, strict=True):
        others = {name: [add(other) for other in entry[name]] for name in ("neighbours", "pairs")}
        rows.append({**add(entry, is_small=False), **others, "heat": encode_heats(maps)})
    return {
        "shipped": gallery["shipped"],
        "threshold": gallery["threshold"],
        "by_chance": BY_CHANCE,
        "digest": gallery["val_manifest"][:16],
        "rows": rows,
        "overrides": gallery["overrides"],
        "quarantined": [add(entry, is_small=False) for entry in gallery["quarantined"]],
    }


def describe_gallery(gallery: Mapping[str, Any], mapless: Sequence[str] = ()) -> str:
    """How many rows are shown, of how many, and what that does not say."""
    shown, total = len(gallery["rows"]), gallery["val_rows"]
    if shown == total:
        text = f"All {total:,} rows of val."
    else:
        text = (
            f"{shown:,} of {total:,} rows of val: a quarter drawn by chance, the rest mistakes, "
            "disagreement and close calls. So mistakes are many more here than in val."
        )
    if lost := gallery["quarantined_rows"]:
        text += f" {lost:,} {'file' if lost == 1 else 'files'} of val cannot be used."
    if mapless:
        text += f" No Grad-CAM of {', '.join(mapless)}: it can show no places."
    return text + " Open one, then go on with the arrow keys."


def render_page(page: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """The whole file. Text is escaped by the template, data by `escape_json`."""
    script = (PAGE / "report.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    return render_html(
        PAGE / "report.html",
        **page,
        style=(PAGE / "report.css").read_text(encoding="utf-8"),
        script=script,
        script_digest=base64.b64encode(digest).decode(),
        data=escape_json(data),
        pictures=bool(data["rows"] or data["quarantined"]),
    )


def escape_json(value: Any) -> str:
    """JSON that no browser takes for the end of a script."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text
