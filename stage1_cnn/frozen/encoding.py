"""What an embedding of a frozen encoder is: its weights, what is read of it, and what it is shown.

encoding = Encoding(settings, identify_encoder(digest_weights(encoder), settings), scoring, images)
encoding.fit_size(network)
engine = encoding.build_engine(network, processes)
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from features.core.files import digest_bytes, digest_file, digest_json
from features.core.manifest import Manifest
from features.crops.crop_store import lay_grid
from features.pixels.store import ImageStore
from features.runtime.run_folder import list_versions
from features.settings.images import Images
from features.settings.scoring import Scoring
from features.settings.training import MemberSettings
from stage1_cnn.networks.frozen_network import FrozenNetwork
from stage1_cnn.networks.joined_network import JoinedNetwork
from stage1_cnn.networks.network import fit_image_size
from stage1_cnn.runtime.runs import COMPUTING
from stage1_cnn.scoring.engines import Engine, build_torch_engine, describe_engines
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.scoring.views import view_images

CODE = (
    *("features/crops", "features/pixels"),
    *("stage1_cnn/frozen", "stage1_cnn/networks", "stage1_cnn/scoring"),
)
"""Rooms that say what an embedding is: a change there makes them anew."""


def digest_weights(encoder: nn.Module) -> str:
    """sha256 of all values of an encoder, with their names."""
    content = hashlib.sha256()
    for name, value in encoder.state_dict().items():
        content.update(name.encode())
        content.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return content.hexdigest()


def identify_encoder(weights: str, settings: MemberSettings) -> str:
    """Digest of all that the axes of its embeddings depend on: `weights`, and what is read."""
    facts = settings.model_dump(
        mode="json",
        include={"model", "pooling", "layer", "graph", "image_size", "images", "network"},
    )
    return digest_json([weights, facts])


@dataclass(frozen=True)
class Encoding:
    """An encoder, and what it is shown of a picture."""

    settings: MemberSettings
    encoder: str
    """As of `identify_encoder`."""
    scoring: Scoring
    images: Images

    @property
    def side(self) -> int:
        """Of the squares that it sees, in pixels."""
        return self.scoring.choose_side(self.settings.image_size)

    def lay_grid(self, store: ImageStore) -> ImageStore:
        """What is shown of pictures, as `dump` scores them."""
        return lay_grid(store, self.scoring.most_crops, self.side)

    def fit_size(self, network: FrozenNetwork) -> None:
        """Changes `network` to see `side` pixels."""
        fit_image_size(network, self.settings, self.side)

    def build_engine(self, network: FrozenNetwork | JoinedNetwork, processes: Processes) -> Engine:
        """What computes embeddings, by a network that sees `side` pixels."""
        resized = self.settings.model_copy(update={"image_size": self.side})
        engine = build_torch_engine(network, resized, processes.device)
        return view_images(engine, self.scoring.tta)

    def describe(self, engine: Engine, manifest: Manifest) -> dict[str, Any]:
        """The key of the embeddings of a manifest's pictures."""
        is_crop = self.settings.images.mode == "crop"
        return {
            "encoder": self.encoder,
            "model": self.settings.model,  # for people, as the next one
            "role": manifest.role,
            "side": self.side,
            "crops": self.scoring.most_crops if is_crop else None,
            "tta": self.scoring.tta,
            "images": self.images.pixel_settings,
            "pictures": digest_bytes("\n".join(manifest.read("sha256")).encode()),
            "code": _digest_rooms(),
            "versions": list_versions(COMPUTING),
            **describe_engines([engine]),
        }


def _digest_rooms() -> str:
    root = Path(__file__).parents[2]
    files = sorted(path for room in CODE for path in (root / room).glob("*.py"))
    return digest_json([digest_file(path) for path in files])
