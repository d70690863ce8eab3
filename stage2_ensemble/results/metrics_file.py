"""`metrics.json`, checked against its form when it is written and when it is read.

metrics = read_metrics(Path("artifacts/metrics.json"))
if has_val(metrics):
    print(metrics["val"]["stack"]["auc"])
"""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from features.core.files import read_json, write_json
from features.errors import IntegrityError
from stage2_ensemble.results.form import FinalMetrics, Metrics, ValMetrics

STAGE = "evaluate"
_VAL, _FINAL = TypeAdapter(ValMetrics), TypeAdapter(FinalMetrics)


def read_metrics(path: Path) -> Metrics:
    """Raises `MissingArtifactError`, or `IntegrityError` that names the file and the field."""
    values = read_json(path, STAGE)
    return check_metrics(values, path)


def write_metrics(path: Path, metrics: Metrics) -> None:
    """Raises as `read_metrics` before anything is written."""
    check_metrics(metrics, path)
    write_json(path, dict(metrics))


def check_metrics(values: Any, path: Path) -> Metrics:
    """The same values with their types. Raises `IntegrityError` for the first wrong field."""
    is_final = isinstance(values, dict) and values.get("val", {}) is None
    form: TypeAdapter[Any] = _FINAL if is_final else _VAL
    try:
        form.validate_python(values, strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the whole"
        advice = f"Make it again: dvc repro -f {STAGE}"
        raise IntegrityError(path, f"{field}: {first['msg']}", advice) from error
    checked: Metrics = values
    return checked
