"""What one member says about the rows that it did not learn from.

Reads: artifacts/members/<backbone>/<fold>/weights.safetensors,
    artifacts/members/<backbone>/<fold>/member.json, artifacts/manifest/train.parquet,
    artifacts/manifest/val.parquet, artifacts/manifest/test.parquet, images below data.root
Writes: artifacts/dumps/<backbone>/<fold>
Params: data.root, images.size, images.equalize
"""

import logging
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import nn

from features.cli import Overrides, run_stage
from features.dumps import Dump, write_dump
from features.errors import AlignmentError
from features.manifest import ROLES, Manifest, read_manifest
from features.params import load_params
from features.store import ImageStore, open_store
from features.train_params import DumpParams
from stage1_cnn.batches import build_normaliser
from stage1_cnn.devices import pick_device
from stage1_cnn.member import Member, load_network, read_member
from stage1_cnn.scoring import score_rows

MANIFEST = Path("artifacts/manifest")
MEMBERS = Path("artifacts/members")
OUT = Path("artifacts/dumps")
_log = logging.getLogger("forgerystack")


def check_member(member: Member, train: Manifest, fold: int) -> None:
    """Raises unless the member left out `fold` of this very train manifest."""
    if member.id.fold != fold:
        raise AlignmentError("folds of the member", member.id.fold, fold)
    member.id.check_train_digest(train.digest)


def dump_role(
    network: nn.Module, member: Member, manifest: Manifest, store: ImageStore, device: torch.device
) -> Dump:
    """Scores the rows of one role that the member may be asked about."""
    row_ids = manifest.rows_to_dump(member.id.fold)
    normalise = build_normaliser(network, member.settings, device)
    logits, embeddings = score_rows(network, normalise, store, row_ids)
    return Dump(manifest.role, member.id, row_ids, logits, embeddings)


def run(params: DumpParams, backbone: str, fold: int, member_dir: Path, out: Path) -> None:
    """Reads member, manifests and images, writes one dump per role."""
    member = read_member(member_dir, backbone, fold)
    manifests = {role: read_manifest(MANIFEST, role) for role in ROLES}
    check_member(member, manifests["train"], fold)
    device = pick_device()
    network = load_network(member_dir, member).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for role, manifest in manifests.items():
        store = open_store(manifest, Path(params.data.root), params.images)
        dump = dump_role(network, member, manifest, store, device)
        write_dump(dump, manifest, out)
        _log.info("dump %s: %s %d rows", member.id.name, role, len(dump))


def main(
    backbone: Annotated[str, typer.Option(help="Name of an entry of `backbones`.")],
    fold: Annotated[int, typer.Option(help="Fold that the member left out.")] = 0,
    member: Annotated[Path | None, typer.Option(help="Folder that train --out wrote.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the dumps.")] = None,
    overrides: Overrides = None,
) -> None:
    """Dump logits and embeddings of one member for its fold, val and test."""
    params = load_params(DumpParams, overrides)
    place = Path(backbone) / str(fold)
    run(params, backbone, fold, member or MEMBERS / place, out or OUT / place)


if __name__ == "__main__":
    run_stage("stage1_cnn.dump", main)
