"""The stages `dump`, `perturb` and `explain` from files to files: as on a CPU.

Each works in the current folder, which is that of a small project, on the device that
`FORGERYSTACK_DEVICE` names.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import yaml

from benchmarks.gpu.report import Report, measure_error
from benchmarks.gpu.tasks import import_from_tests
from features.artifacts.dumps import read_dump
from features.artifacts.gradcam import read_gradcam
from features.artifacts.perturbed import Perturbed, read_perturbed
from features.core.files import write_array, write_sealed
from features.core.manifest import read_manifest
from features.settings.learning import Network
from features.settings.perturb import PerturbParams
from features.settings.sections import load_params
from stage1_cnn.explain.settings import ExplainParams
from stage1_cnn.perturb import run as perturb
from stage1_cnn.runtime.runs import RunLimits

LIMITS = {"float32": 1e-3, "auto": 2e-2}
"""Of ‖found - wanted‖ / ‖wanted‖ of embeddings, which are kept as float16."""
SHOWN = [0, 3, 4, 11, 39]
"""Rows of the gallery."""


def check(report: Report) -> None:
    """All stages in float32, and a dump in the precision that the device would take."""
    project = import_from_tests("dump_task")
    for precision, limit in LIMITS.items():
        with inside_project() as folder:
            project.make_project(folder, network=Network(precision=precision))
            write_params(folder, project.PARAMS)
            with report.part(f"dump.{precision}"):
                compare_dumps(report, project.dump, f"dump.{precision}", limit)
            if precision == "float32":
                with report.part("perturb"):
                    compare_perturbed(report)
                with report.part("explain"):
                    compare_maps(report)


@contextmanager
def inside_project() -> Iterator[Path]:
    """A fresh current folder."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def write_params(folder: Path, params: dict[str, object]) -> None:
    """Settings of the stages; images are found by a full path, which no other project has."""
    own = {
        "seed": 0,
        "data": {"root": str(folder / "data")},
        "perturb": {"rows": 20},
        "backbones": {"net": {}},
        "folds": {"active": [0]},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params | own))


@contextmanager
def on_device(name: str) -> Iterator[None]:
    """Stages take that device."""
    before = os.environ["FORGERYSTACK_DEVICE"]
    os.environ["FORGERYSTACK_DEVICE"] = name
    try:
        yield
    finally:
        os.environ["FORGERYSTACK_DEVICE"] = before


def run_twice(report: Report, name: str, run: Callable[[Path], object]) -> list[Path]:
    """What `run` has written into a folder, on the device and on a CPU."""
    folders = []
    for device in (str(report.device), "cpu"):
        folders.append(Path.cwd() / f"{name}-{len(folders)}")
        with on_device(device):
            run(folders[-1])
    return folders


def compare_dumps(report: Report, dump: Callable[[Path], object], name: str, limit: float) -> None:
    """Embeddings of train."""
    train = read_manifest(Path("artifacts/manifest"), "train")
    folders = run_twice(report, name, dump)
    error = compare_arrays(*(read_dump(out, train, "net", 0).embeddings for out in folders))
    report.check(name, error < limit, f"{error:.1e}")


def compare_arrays(found: npt.ArrayLike, wanted: npt.ArrayLike) -> float:
    """As `measure_error`."""
    return measure_error(*(torch.tensor(np.array(array)) for array in (found, wanted)))


def compare_perturbed(report: Report) -> None:
    """Embeddings of pictures as they are, which also give the very same forensic features."""
    val = read_manifest(Path("artifacts/manifest"), "val")

    def run(out: Path) -> None:
        perturb.run(load_params(PerturbParams, []), out, RunLimits(out.parent / "resume"))

    found: list[Perturbed] = [
        read_perturbed(out, val) for out in run_twice(report, "perturbed", run)
    ]
    error = compare_arrays(*(one.embeddings[0] for one in found))
    same = np.array_equal(found[0].forensics[0], found[1].forensics[0])
    report.check("perturb", error < 1e-2 and same, f"{error:.1e}, unchanged pictures alike {same}")


def compare_maps(report: Report) -> None:
    """Grad-CAM of a few rows, in steps of 255."""
    try:
        # Late: captum, and matplotlib that it wants, may be missing.
        from stage1_cnn.explain import run as explain
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("captum", "matplotlib"):
            raise
        report.skip("explain", f"needs {package}")
        return
    val, rows = read_manifest(Path("artifacts/manifest"), "val"), np.array(SHOWN, np.int64)
    write_array(Path("artifacts/gallery/rows.npy"), rows)
    facts = {"val_manifest": val.digest, "rows": [{"row": row} for row in SHOWN]}
    write_sealed(Path("artifacts/gallery/gallery.json"), facts)
    overrides = ["backbones={net: null}", "folds.active=[0]", "dump.image_size=48"]
    params = load_params(ExplainParams, overrides)
    folders = run_twice(report, "maps", lambda out: explain.run(params, out))
    found, wanted = (read_gradcam(out, val.digest, rows).maps["net"] for out in folders)
    off = int(np.abs(found.astype(int) - wanted.astype(int)).max())
    report.check("explain", off <= 3, f"{off} of 255")
