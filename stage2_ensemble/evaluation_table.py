"""`evaluation.parquet`: every row of val with all its scores, for whoever wants to look further.

| column | meaning |
|---|---|
| `row_id`, `img_name`, `path`, `label`, `group`, `generator`, `unit`, `domain` | of the manifest |
| `override` | the corrected label, -1 where nobody looked; equal to `label` where confirmed |
| `headline` | headline figures stand on it: not moved to val by `split.hold_out` |
| `null_model` | log-odds of the null model, at equal class shares |
| `score:<name>` | calibrated log-odds of each member `<backbone>-<fold>` and each candidate |
| `score:stack` | those of what ships |
| `probability` | of fake, by what ships |
| `decision` | `real`, `fake` or `review`, as `label` would answer |

Scores are at the share of fakes that `label.prior` says.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import IntegrityError, MissingArtifactError
from features.files import write_atomic
from features.manifest import Manifest
from features.null_facts import find_headline_rows
from stage2_ensemble.answered import answer_rows
from stage2_ensemble.columns import Floats
from stage2_ensemble.ensemble import Ensemble

EVALUATION = "evaluation.parquet"
FROM_MANIFEST = [
    *("row_id", "img_name", "path", "label", "override", "group", "generator", "unit", "domain")
]


def tabulate_evaluation(
    ensemble: Ensemble, raw: Mapping[str, Floats], val: Manifest, null_scores: Floats
) -> pd.DataFrame:
    """The table; `raw`: as `Ensemble.score_all` gives them, of all rows of `val`."""
    read = ensemble.readings.read_all(raw)
    answers = answer_rows(ensemble.readings, ensemble.shipped, raw[ensemble.shipped])
    known = val.table[FROM_MANIFEST].reset_index(drop=True)
    return known.assign(
        headline=find_headline_rows(val),
        null_model=null_scores,
        **{f"score:{name}": scores for name, scores in read.items()},
        **{"score:stack": read[ensemble.shipped]},
        probability=answers["score"].to_numpy(),
        decision=answers["label"].to_numpy(),
    )


def tabulate_nothing(ensemble: Ensemble, val: Manifest) -> pd.DataFrame:
    """The same without rows, where `val` has none."""
    names = [f"{b}-{k}" for k in ensemble.folds for b in ensemble.backbones]
    raw = dict.fromkeys((*names, *ensemble.models), val.weights)
    return tabulate_evaluation(ensemble, raw, val, val.weights)


def write_evaluation(table: pd.DataFrame, path: Path) -> None:
    """Writes the table as Parquet, atomically."""
    with write_atomic(path) as temporary:
        rows = pa.Table.from_pandas(table, preserve_index=False)
        pq.write_table(rows.replace_schema_metadata(None), temporary, compression="zstd")


def read_evaluation(path: Path) -> pd.DataFrame:
    """Reads what `write_evaluation` wrote."""
    if not path.is_file():
        raise MissingArtifactError(path, "evaluate")
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        advice = "Make it again: dvc repro -f evaluate"
        raise IntegrityError(path, f"no valid parquet ({error})", advice) from error
