"""What `python -m stage1_cnn.explain` does."""

import logging
from pathlib import Path

import numpy as np
import torch
from captum.attr import LayerGradCam
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from features.artifacts.gradcam import GradCam, Maps, write_gradcam
from features.core.files import read_sealed
from features.core.manifest import Ids, Manifest, read_manifest
from features.crops.crop_store import FittedStore, MemberStores, lay_grid
from features.errors import IntegrityError, MissingArtifactError, StaleArtifactError
from features.pixels.store import ImageStore
from features.runtime.progress import track
from stage1_cnn.explain.feature_maps import LAYER, MappedNetwork
from stage1_cnn.explain.placing import choose_corners, place_maps
from stage1_cnn.explain.settings import ExplainParams
from stage1_cnn.networks.devices import fixed_algorithms, pick_device, prepare_device, tell_memory
from stage1_cnn.networks.member import Member, load_network, read_member
from stage1_cnn.networks.network import check_other_size, fit_image_size
from stage1_cnn.networks.normalise import Normaliser, build_normaliser

MANIFEST = Path("artifacts/manifest")
MEMBERS = Path("artifacts/members")
GALLERY = Path("artifacts/gallery")
OUT = Path("artifacts/gradcam")
BATCH = 32
MOST_SIDE = 32
"""Of a map; finer ones are averaged."""
_log = logging.getLogger("forgerystack")


def read_rows(folder: Path, val: Manifest) -> Ids:
    """The rows of the gallery, increasing. Raises `StaleArtifactError`, `IntegrityError`."""
    facts = read_sealed(folder / "gallery.json", "gallery", {"val_manifest": str, "rows": list})
    path = folder / "rows.npy"
    if facts["val_manifest"] != val.digest:
        versions = (f"val manifest {facts['val_manifest'][:8]}", val.digest[:8])
        raise StaleArtifactError(folder / "gallery.json", *versions, "gallery")
    if not path.is_file():
        raise MissingArtifactError(path, "gallery")
    advice = "Make it again: dvc repro -f gallery"
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise IntegrityError(path, f"no valid array ({error})", advice) from error
    if rows.dtype != np.int64 or rows.tolist() != [entry["row"] for entry in facts["rows"]]:
        raise IntegrityError(path, "its rows are not those of gallery.json", advice)
    return np.asarray(rows, np.int64)


def scale_maps(signed: Tensor) -> Maps:
    """`(n, h, w)`, above 0 where it speaks for fake, as uint8 `(n, 2, h, w)`: real, fake.

    The strongest place of a row is 255, on whichever side it is, so that a side with little to
    say stays dark.
    """
    sides = torch.stack([-signed, signed], dim=1).clamp(min=0).nan_to_num(0, 0, 0)
    strongest = sides.amax(dim=(1, 2, 3), keepdim=True)
    # Divided first: the smallest floats have no reciprocal.
    scaled = torch.where(strongest > 0, sides / strongest, 0) * 255
    return scaled.round().to("cpu", torch.uint8).numpy()


def explain_rows(
    mapped: MappedNetwork, normalise: Normaliser, store: ImageStore, rows: Ids, title: str
) -> Maps:
    """The maps of whole pictures, rows of `store`, `(n, 2, h, w)`. Raises `DeviceMemoryError`."""
    gradcam = LayerGradCam(mapped, mapped.maps)
    batches = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
    parts = []
    for batch in track(batches, f"explain {title}", len(rows), unit="images", size=len):
        with tell_memory(normalise.device):
            if isinstance(store, FittedStore):
                corners = choose_corners(mapped, normalise, store, batch)
                signed = gradcam.attribute(normalise(store.cut(batch, corners))).detach()
                sizes = store.pictures.sizes[batch]
                signed = place_maps(signed, sizes, corners, store.size, MOST_SIDE)
            else:
                signed = gradcam.attribute(normalise(store.gather(batch))).detach()
        side = min(signed.shape[-1], MOST_SIDE)
        parts.append(scale_maps(adaptive_avg_pool2d(signed, side)[:, 0]))
    return np.concatenate(parts) if parts else np.empty((0, 2, 1, 1), np.uint8)


def explain_member(
    member: Member, folder: Path, side: int, store: ImageStore, rows: Ids
) -> Maps | None:
    """The maps of the rows, shown as squares of `side` pixels; none by a network without places."""
    device = pick_device()
    prepare_device(device)
    check_other_size(member.settings, side)
    network = load_network(folder, member)
    fit_image_size(network, member.settings, side)
    settings = member.settings.model_copy(update={"image_size": side})
    normalise = build_normaliser(network.to(device), settings, device)
    noise = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
    with fixed_algorithms():
        mapped = MappedNetwork(network)
        if not mapped.depends_on_maps(normalise(noise)):
            return None
        return explain_rows(mapped, normalise, store, rows, member.id.name)


def run(params: ExplainParams, out: Path = OUT) -> None:
    """Reads the gallery's rows, members and images; writes a map of each row by each backbone."""
    val = read_manifest(MANIFEST, "val")
    rows = read_rows(GALLERY, val)
    if not params.backbones:  # then no picture need be decoded
        write_gradcam(GradCam(rows, {}, {}, {}), val.digest, out)
        return
    stores = MemberStores(val, Path(params.data.root), params.images)
    fold = params.folds.active[0]
    members: dict[str, str] = {}
    found: dict[str, Maps] = {}
    for backbone in params.backbones:
        folder = MEMBERS / backbone / str(fold)
        member = read_member(folder, backbone, fold)
        mode = member.settings.images.mode
        scoring = params.resolve_member(backbone, mode)
        side = scoring.choose_side(member.settings.image_size)
        store = lay_grid(stores.open(mode, side), scoring.most_crops)
        maps = explain_member(member, folder, side, store, rows)
        members[backbone] = member.id.digest
        if maps is None:
            why = "its head tells no places apart"
            if member.settings.graph is not None:
                why = "an ONNX file has no gradients"
            _log.info("explain %s: %s, so no places are shown", backbone, why)
            continue
        found[backbone] = maps
        places = " × ".join(map(str, maps.shape[2:]))
        _log.info("explain %s: %d rows, %s places", member.id.name, len(rows), places)
    layers = {name: LAYER if name in found else None for name in params.backbones}
    write_gradcam(GradCam(rows, found, layers, members), val.digest, out)
