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

import numpy as np
import torch
import typer
from torch import nn

from features.cli import Overrides, run_stage
from features.dumps import Dump, write_dump
from features.errors import AlignmentError
from features.manifest import ROLES, Ids, Manifest, read_manifest
from features.params import load_params
from features.store import ImageStore, open_store
from features.train_params import DumpParams
from stage1_cnn.batches import Normaliser
from stage1_cnn.member import Member, load_network, read_member
from stage1_cnn.network import embed, get_normalisation, pick_device

MANIFEST = Path("artifacts/manifest")
MEMBERS = Path("artifacts/members")
OUT = Path("artifacts/dumps")
BATCH = 64
_log = logging.getLogger("forgerystack")


@torch.inference_mode()
def score_rows(
    network: nn.Module, normalise: Normaliser, store: ImageStore, row_ids: Ids
) -> tuple[np.ndarray, np.ndarray]:
    """Raw log-odds `(n,)` float32 and embeddings `(n, d)` float16 of rows of the store."""
    logits = np.empty(len(row_ids), np.float32)
    embeddings = None
    for start in range(0, len(row_ids), BATCH):
        rows = slice(start, start + BATCH)
        vectors, scores = embed(network, normalise(store.gather(row_ids[rows])))
        if embeddings is None:
            embeddings = np.empty((len(row_ids), vectors.shape[1]), np.float16)
        # float16 ends at 65,504; a larger activation would turn into infinity.
        embeddings[rows] = vectors.float().clamp(-65_504, 65_504).cpu().numpy()
        logits[rows] = scores.float().cpu().numpy()
    if embeddings is None:
        width = getattr(network, "head_hidden_size", network.num_features)
        embeddings = np.empty((0, width), np.float16)  # type: ignore[arg-type]
    return logits, embeddings


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
    mean, std = get_normalisation(network)
    normalise = Normaliser(mean, std, member.settings.image_size, device)
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
