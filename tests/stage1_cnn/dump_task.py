"""A small project on the disk that is ready to be dumped: images, manifests and a member."""

import hashlib
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from small_task import make_pixels, make_settings, make_table

from features.core.manifest import read_manifest, write_manifest
from features.core.members import Correction, MemberId
from features.settings.scoring import DumpParams
from features.settings.sections import load_params
from stage1_cnn.dump.run import run
from stage1_cnn.networks.member import Member, write_member
from stage1_cnn.networks.network import build_network
from stage1_cnn.runtime.runs import RunLimits

STORED = 48
"""Side of the stored images; the member was trained at 32."""
COUNTS = {"train": 90, "val": 40, "test": 10}
PARAMS = {
    "data": {"root": "data"},
    "images": {"size": STORED, "store": "none"},
    "dump": {"tta": "none"},
}
MEMBER = Path("artifacts/members/net/0")


def make_project(folder: Path, **changes) -> None:
    """Writes everything below `folder`; `changes` are those of the member's settings."""
    manifests = {}
    for role, count in COUNTS.items():
        labels = (np.arange(count) % 3 > 0).astype(np.int8)
        folds = np.arange(count) % 2 if role == "train" else np.full(count, -1)
        table = make_table(labels, folds.astype(np.int16))
        pixels = make_pixels(labels, seed=len(role) + count)
        facts = []
        for i, image in enumerate(pixels):
            path = folder / "data" / role / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).resize((STORED, STORED)).save(path)
            content = path.read_bytes()
            facts.append((f"{role}/{i}.png", len(content), hashlib.sha256(content).hexdigest()))
        table["width"] = table["height"] = STORED
        table["path"], table["bytes"], table["sha256"] = zip(*facts, strict=True)
        place = folder / "artifacts" / "manifest" / f"{role}.parquet"
        manifests[role] = write_manifest(table, role, place)
    torch.manual_seed(0)
    settings = make_settings(**changes)
    identity = MemberId("net", 0, "", manifests["train"].digest, Correction())
    member = Member(identity, settings, 45, 15, 30, 1, 1)
    write_member(build_network(settings).state_dict(), member, folder / MEMBER)
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS))


def dump(out: Path, *overrides: str, resume_dir: Path | None = None) -> dict[str, bytes]:
    """Dumps the member of the project in the current folder; the files that it wrote."""
    limits = RunLimits(resume_dir or out.parent / "resume")
    run(load_params(DumpParams, overrides), "net", 0, MEMBER, out, limits)
    return read_files(out)


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def read_train():
    return read_manifest(Path("artifacts/manifest"), "train")
