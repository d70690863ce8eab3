"""What is known of pictures besides what members say: forensic features and, if asked, file facts.

Facts of files tell how a data set was collected. So they are for the null model, and for models
that decide only where `stack.use_file_facts` says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.artifacts.forensics import read_forensics
from features.core.manifest import Manifest
from features.null_model.file_facts import (
    CATEGORIES,
    FAMILIES,
    FILE,
    build_file_facts,
    encode_facts,
    learn_codes,
)

FileCodes = Mapping[str, list[str]]


@dataclass(frozen=True)
class Extras:
    """Columns of some rows: of all rows of a role they are by `row_id`."""

    names: tuple[str, ...]
    """`forensic:<name>` and `file:<name>`."""
    values: npt.NDArray[np.float32]
    """`(n, f)`; NaN where a value is not known."""


def learn_file_codes(train: Manifest) -> FileCodes:
    """The values of each category among train rows, the most frequent first: no label is read."""
    codes = learn_codes(build_file_facts(train.table))
    return {name: [str(value) for value in codes[name]] for name in _list_categories()}


def read_extras(folder: Path, manifest: Manifest, file_codes: FileCodes | None = None) -> Extras:
    """The forensic features of a role, from `folder`, and with `file_codes` its file facts.

    Raises as `read_forensics`.
    """
    forensics = read_forensics(folder, manifest)
    table = None if file_codes is None else manifest.table  # all columns: only where they are seen
    return build_extras(forensics.names, forensics.values, table, file_codes)


def build_extras(
    names: Sequence[str],
    values: npt.NDArray[np.float32],
    table: pd.DataFrame | None,
    file_codes: FileCodes | None = None,
) -> Extras:
    """Forensic features `(n, c)` of rows, with their file facts from a manifest's `table`."""
    titles = tuple(f"forensic:{name}" for name in names)
    if file_codes is None or table is None:
        return Extras(titles, values)
    codes = {name: pd.Index(known) for name, known in file_codes.items()}
    facts = encode_facts(build_file_facts(table)[list(FAMILIES[FILE])], codes)
    columns = np.stack(list(facts.values()), axis=1).astype(np.float32)
    titles += tuple(f"file:{name}" for name in facts)
    return Extras(titles, np.concatenate([values, columns], axis=1))


def _list_categories() -> list[str]:
    return [name for name in FAMILIES[FILE] if name in CATEGORIES]
