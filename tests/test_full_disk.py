"""Whatever writes a result tells a full disk, however little is missing; the old file stays."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
WRITERS = {
    "text": "write_text(path, 'x' * 600)",
    "sealed JSON": "write_sealed(path, {'rows': list(range(99))})",
    "small array": "write_array(path, np.arange(60))",
    "array": "write_array(path, np.arange(6000).reshape(60, 100).T)",
    "array without rows": "write_array(path, np.empty((0, 3)))",
    "manifest": "write_manifest(make_manifest('train', [0, 1] * 30).table, 'train', path)",
    "evaluation": "write_evaluation(pd.DataFrame({'row_id': range(99)}), path)",
    "chart": "write_empty_png('nothing', path)",
    "carry file": "write_carry(path, ['dvc.yaml'], [])",
    "state": "Checkpoints(path.parent).save(1, {'a': torch.arange(100.)})",
}
SWEEP = f"""
import json, os, resource, shutil, signal, sys
from pathlib import Path
import numpy as np, pandas as pd, torch
from features.carry.archive import write_carry
from features.core.files import write_array, write_sealed, write_text
from features.core.manifest import write_manifest
from made_data import make_manifest
from stage1_cnn.runtime.checkpoints import Checkpoints
from stage2_ensemble.charts.charts import write_empty_png
from stage2_ensemble.findings.tables import write_evaluation
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
torch.set_num_threads(1)
found = {{}}
for name, call in {WRITERS!r}.items():
    place = Path(sys.argv[1]) / name
    place.mkdir()
    path = place / "it"
    exec(call)
    (path,) = (file for file in place.rglob("*") if file.is_file())
    whole, ends = path.read_bytes(), []
    path = place / "it"
    for limit in sorted({{1, len(whole) // 2, len(whole) - 64, len(whole) - 1}}):
        child = os.fork()
        if not child:
            resource.setrlimit(resource.RLIMIT_FSIZE, (max(limit, 1),) * 2)
            try:
                exec(call)
            except OSError:
                os._exit(28)
            os._exit(0)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    stays = [file.read_bytes() for file in place.rglob("*") if file.is_file()]
    found[name] = (ends, stays == [whole])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each writer did where a file may not grow beyond so many bytes."""
    places = os.pathsep.join(str(ROOT / place) for place in (".", "tests/features"))
    done = subprocess.run(
        [sys.executable, "-c", SWEEP, str(tmp_path_factory.mktemp("full"))],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.fault(
    "a disk that is full to the byte, or keeps other bytes than were written",
    "error; each file is read again before it gets its name",
    "Disks, signals, kills",
)
@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_an_error_however_little_is_missing(
    found: dict[str, Any], writer: str
) -> None:
    ends, stays = found[writer]
    assert set(ends) == {28}
    assert stays, "the old file, and nothing beside it"


OWN = {
    "features/artifacts/row_blocks.py": "blocks with a sha256 in their record",
    "features/caching/shard_files.py": "blocks with a checksum in the index",
    "features/carry/archive.py": "contents by their sha256, compared as they are copied",
    "features/demo/run.py": "a folder that gets its name last",
    "features/runtime/locks.py": "numbers of processes",
    "serving/label/rows_file.py": "a log whose last line may be cut",
    "stage2_ensemble/tune/journal.py": "a log whose last line may be cut",
}

METHODS = ("write_bytes", "write_text", "tofile", "save_file", "save_model", "to_parquet")


def list_writes(path: Path) -> list[str]:
    """Calls that write to a file which they open themselves."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        texts = [a.value for a in (*node.args, *(k.value for k in node.keywords))
                 if isinstance(a, ast.Constant) and isinstance(a.value, str)]  # fmt: skip
        is_opened = name == "open" and any(re.fullmatch("r?b?[wax+]b?[+]?", t) for t in texts)
        is_method = isinstance(node.func, ast.Attribute) and name in METHODS
        if is_opened or is_method:
            found.append(name)
    return found


@pytest.mark.parametrize(
    "path",
    [p for package in ("features", "serving", "stage1_cnn", "stage2_ensemble")
     for p in sorted((ROOT / package).rglob("*.py"))],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)  # fmt: skip
def test_results_are_written_by_the_one_writer(path: Path) -> None:
    assert bool(list_writes(path)) == (path.relative_to(ROOT).as_posix() in OWN)
