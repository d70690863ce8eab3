"""The parts of a dump of a frozen encoder: embeddings out of their cache, scored by the head."""

from collections.abc import Iterator
from dataclasses import dataclass

from features.core.manifest import Ids, Role
from features.runtime.interruption import Interruption
from features.settings.images import Images
from features.settings.scoring import Scoring
from stage1_cnn.dump.parts import PLAIN, Part, Task
from stage1_cnn.frozen.cache import Encoding, embed_rows
from stage1_cnn.frozen.embedded import Embedded, Head
from stage1_cnn.networks.frozen_network import FrozenNetwork, read_head
from stage1_cnn.networks.member import load_network
from stage1_cnn.scoring.engines import Engine
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.scoring.rows import ScoredRows


@dataclass(frozen=True)
class EmbeddedPart:
    """Rows whose embeddings are there."""

    name: str
    engine: Engine
    embedded: Embedded
    head: Head
    row_ids: Ids

    @property
    def has_crops(self) -> bool:
        """See `Part`."""
        return self.embedded.squares.counts is not None

    def score(self, start: int, stop: int, processes: Processes) -> Iterator[ScoredRows]:
        """See `Part`; every process has all of it."""
        return self.embedded.score(self.row_ids[start:stop], self.head)


def build_embedded_parts(
    task: Task, images: Images, processes: Processes, interruption: Interruption
) -> list[Part]:
    """The rows of each role that the member may be asked about. Raises `Stopped`."""
    member, fold = task.member, task.member.id.fold

    def embed(name: str, role: Role, row_ids: Ids, scoring: Scoring) -> EmbeddedPart:
        encoding = Encoding(member.settings, member.id.encoder, scoring, images)
        network = load_network(task.member_dir, member)
        assert isinstance(network, FrozenNetwork)
        weight, bias = read_head(network)
        engine = encoding.build_engine(network, processes)
        manifest, store = task.manifests[role], task.stores[role]
        embedded = embed_rows(encoding, engine, manifest, store, processes, interruption)
        return EmbeddedPart(name, engine, embedded, Head(weight.cpu().numpy(), bias), row_ids)

    parts: list[Part] = [
        embed(role, role, manifest.rows_to_dump(fold), task.scoring)
        for role, manifest in task.manifests.items()
    ]
    if not task.is_plain:
        plain = task.scoring.model_copy(update={"tta": "none", "image_size": None})
        parts.append(embed(PLAIN, "train", task.manifests["train"].fold_rows(fold), plain))
    return parts
