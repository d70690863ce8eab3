"""More rows than memory holds as a whole: the stages that look at no picture find the same."""

from pathlib import Path

import numpy as np
import pytest
from synthetic_world import World, run_stages

from features.core import manifest as manifests
from features.core.manifest import SUMS, Manifest, read_manifest
from features.core.sums import write_sums
from features.null_model import model as null_model
from features.settings.report import GalleryParams
from features.settings.sections import validate_params
from stage2_ensemble.columns import extras
from stage2_ensemble.columns.extras import learn_file_codes, read_extras
from stage2_ensemble.gallery import run as gallery

WRITTEN = ("null_model/*", "stackers/*", "metrics.json", "evaluation.parquet", "labels.csv")
LISTS = {
    "duplicates.csv": "first_role,first,second_role,second,kind,distance,correlation,action\n"
    "val,00003.png,val,00004.png,exact,0,1.0,grouped\n",
    "quarantine.csv": "role,line,img_name,path,status\n",
}


@pytest.fixture
def world(enter) -> World:
    world = enter("one fold")
    for name, text in LISTS.items():
        (gallery.MANIFEST / name).write_text(text)
    write_sums(gallery.MANIFEST / SUMS, [gallery.MANIFEST / name for name in LISTS])
    return world


def store_rows(patch: pytest.MonkeyPatch) -> None:
    """Manifests stay on the disk, and are read a few rows at a time."""

    def refuse(_: Manifest) -> None:
        raise MemoryError("all columns of all rows")

    patch.setattr(manifests, "ROW_GROUP", 50)
    patch.setattr(Manifest, "table", property(refuse))
    for module in (null_model, extras):
        patch.setattr(module, "BLOCK", 16)


def read_written(*patterns: str) -> dict[str, bytes]:
    found = (path for pattern in patterns for path in Path("artifacts").glob(pattern))
    return {str(path): path.read_bytes() for path in found if path.is_file()}


def choose(world: World) -> dict[str, bytes]:
    """Content by name of the gallery."""
    values = {
        "backbones": {name: {} for name in world.plan.strengths},
        "outside": {},
        "folds": {"active": world.plan.active},
        "report": {"rows": 30, "neighbours": 2},
    }
    gallery.run(validate_params(GalleryParams, values, "test"))
    return read_written("gallery/*")


@pytest.mark.scale
def test_no_stage_reads_all_columns_at_once(world, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, shown = read_written(*WRITTEN), choose(world)
    store_rows(monkeypatch)
    run_stages(world)
    assert read_written(*WRITTEN) == wanted
    assert choose(world) == shown


def test_file_facts_are_the_same_block_by_block(world, monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> tuple:
        train, val = (read_manifest(gallery.MANIFEST, role) for role in ("train", "val"))
        codes = learn_file_codes(train)
        return codes, read_extras(gallery.FORENSICS, val, codes)

    codes, wanted = read()
    store_rows(monkeypatch)
    found_codes, found = read()
    assert found_codes == codes
    assert found.names == wanted.names
    np.testing.assert_array_equal(found.values, wanted.values)
    assert np.isfinite(found.values[:, -1]).all()
