"""What `python -m serving.bundle` does."""

import logging
import platform
import shutil
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

from features.core.files import write_atomic, write_json
from features.core.manifest import Manifest, read_manifest
from features.core.manifest_columns import take_columns
from features.errors import BundleError, StaleArtifactError
from features.forensics.columns import COLUMNS
from features.runtime.progress import track
from features.settings.images import Limits
from features.videos.addresses import name_file, parse_address
from serving.bundle.checking import CheckedRows, read_checked, read_row_files
from serving.bundle.detector import write_detector
from serving.bundle.neighbours import bundle_neighbours, choose_neighbour_rows
from serving.bundle.networks import write_network
from serving.bundle.opening import ProjectMember, TorchNetwork, open_networks
from serving.bundle.rates import read_rates
from serving.bundle.settings import BundleParams
from serving.cascade.finding import find_cascade
from serving.cascade.rows import read_cascade_rows, read_val_rows
from serving.cascade.telling import describe_cascade
from serving.ensemble.rows import label_read
from serving.format.cascade import CASCADE
from serving.format.facts import FORM, BundleFacts, MemberFacts, PixelFacts, Sample, list_networks
from serving.format.files import CARD, FACTS, SAMPLES, SECOND_STAGE, seal_bundle
from serving.format.folders import write_folder
from serving.reading.pictures import GivenPicture
from serving.reading.reader import PictureReader, open_reader
from serving.scoring.needs import find_needs
from serving.scoring.scorer import Scorer
from serving.verify.samples import check_samples
from stage1_cnn.networks.member import read_member
from stage2_ensemble.columns.columns import read_dumps
from stage2_ensemble.decisions.conformal import FAKE, REAL
from stage2_ensemble.fitted.bundle import MANIFEST as SECOND_MANIFEST
from stage2_ensemble.fitted.bundle import check_bundle, read_ensemble
from stage2_ensemble.fitted.ensemble import SecondStage, check_members

MANIFEST = Path("artifacts/manifest")
MEMBERS = Path("artifacts/members")
DUMPS = Path("artifacts/dumps")
FORENSICS = Path("artifacts/forensics")
STACKERS = Path("artifacts/stackers")
MODEL_CARD = STACKERS / "MODEL_CARD.md"
PACKAGES = (
    *("forgerystack", "lightgbm", "numpy", "onnxruntime", "Pillow", "scikit-learn", "scipy"),
    *("timm", "torch"),
)
_log = logging.getLogger("forgerystack")


def run(params: BundleParams, out: Path, samples: int, neighbours: int = 0) -> None:
    """Gathers, checks each graph against torch, and labels the samples again with what it wrote.

    So many `samples` of val travel along, and so many thumbnails of train, its `neighbours`.

    Raises `BundleError`, `StaleArtifactError`, or as the readers of the project's files.
    """
    second_stage = read_ensemble(STACKERS)
    check_members(second_stage, params.names, params.folds.active)
    _check_shipped(second_stage, list(params.outside))
    networks = open_networks(read_project_members(params, second_stage))
    root, fold = Path(params.data.root), second_stage.folds[0]
    train, val = (read_manifest(MANIFEST, role) for role in ("train", "val"))
    shown_rows = choose_neighbour_rows(train, fold, neighbours)
    with write_folder(out) as folder:
        pixels = _describe_pixels(params, folder)
        sights = list(dict.fromkeys(network.sees for network in networks))
        checked = read_checked(val if len(val) else train, root, pixels, sights)
        written: list[MemberFacts] = []
        by_file: dict[str, TorchNetwork] = {}
        for network in track(networks, "bundle", len(networks), unit="networks"):
            own = write_network(network, checked.find_squares(network.sees), folder)
            by_file[own[0].file] = network
            written += own
        order = [(fold, name) for fold in second_stage.folds for name in second_stage.backbones]
        written.sort(key=lambda facts: order.index((facts.fold, facts.backbone)))
        _copy_second_stage(folder)
        scorer = Scorer(second_stage, written, pixels, lambda facts: by_file[facts.file])
        reader = open_reader(pixels, folder)
        facts = BundleFacts(
            form=FORM,
            shipped=second_stage.shipped,
            pixels=pixels,
            members=tuple(written),
            forensics=tuple(f"forensic:{name}" for name in COLUMNS),
            val=read_rates(second_stage),
            samples=write_samples(checked, reader, scorer, root, samples, folder),
            neighbours=len(shown_rows),
            versions={"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        )
        write_json(folder / FACTS, facts.model_dump(mode="json"))
        _write_cascade(second_stage, written, train, val, folder)
        if len(shown_rows):
            dumps = read_dumps(DUMPS, train, scorer.needs.backbones, fold, train.digest)
            bundle_neighbours(train, shown_rows, dumps, root, folder)
        seal_bundle(folder)
        check_samples(folder)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    _log.info(
        "bundle: %s ships, of %d networks %d are asked; %d samples of val, %d thumbnails of train, "
        "%.1f MB -> %s",
        second_stage.shipped, len(networks), len(list_networks(scorer.needed)), len(facts.samples),
        facts.neighbours, size / 1e6, out,
    )  # fmt: skip


def _describe_pixels(params: BundleParams, folder: Path) -> PixelFacts:
    """Writes the detector of faces, where rows are faces."""
    return PixelFacts(
        size=params.images.size,
        equalize=params.images.equalize,
        limits=Limits(**params.data.model_dump(include=set(Limits.model_fields))),
        faces=write_detector(params.images, folder),
    )


def _write_cascade(
    second_stage: SecondStage,
    members: Sequence[MemberFacts],
    train: Manifest,
    val: Manifest,
    folder: Path,
) -> None:
    rows = read_cascade_rows(second_stage, train, DUMPS)
    val_rows = read_val_rows(second_stage, val, DUMPS, FORENSICS)
    cascade = find_cascade(rows, second_stage, members, val_rows)
    write_json(folder / CASCADE, cascade.model_dump(mode="json"))
    for line in describe_cascade(cascade):
        _log.info("cascade: %s", line)


def _check_shipped(second_stage: SecondStage, outside: Sequence[str]) -> None:
    """Raises `BundleError` where what ships looks at what no picture alone can tell."""
    shipped = second_stage.shipped
    needs = find_needs(second_stage, shipped)
    problems = [
        f"{shipped} asks {name}, whose scores come from outside: there is no network of it"
        for name in outside
        if name in needs.backbones
    ]
    if needs.file_facts:
        problems.append(
            f"{shipped} looks at facts of files (stack.use_file_facts), which say how these data "
            "were collected"
        )
    if problems:
        raise BundleError("the ensemble", problems, "gate.ship names another candidate.")


def read_project_members(params: BundleParams, second_stage: SecondStage) -> list[ProjectMember]:
    """In the order of the backbones, then by fold.

    Raises `StaleArtifactError` for members that were trained again since the second stage was
    fitted.
    """
    members = []
    for place, backbone in enumerate(second_stage.backbones):
        if backbone in params.outside:
            continue
        scoring = params.dump.resolve_backbone(backbone)
        for fold in second_stage.folds:
            folder = MEMBERS / backbone / str(fold)
            member = read_member(folder, backbone, fold)
            digest = second_stage.digests[fold][place]
            if member.id.digest != digest:
                found = (f"member {digest[:8]}", member.id.digest[:8])
                raise StaleArtifactError("the ensemble", *found, "stack")
            members.append(ProjectMember(member, folder, scoring, params.images.size))
    return members


def _copy_second_stage(folder: Path) -> None:
    for name in sorted({*check_bundle(STACKERS), SECOND_MANIFEST}):
        target = folder / SECOND_STAGE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(STACKERS / name, target)
    if MODEL_CARD.is_file():
        shutil.copyfile(MODEL_CARD, folder / CARD)
    else:
        _log.warning("bundle: no model card; stage `report` writes it: dvc repro report")


def write_samples(
    checked: CheckedRows,
    reader: PictureReader,
    scorer: Scorer,
    root: Path,
    count: int,
    folder: Path,
) -> tuple[Sample, ...]:
    """The first `count` pictures that `checked` rows are of, or parts of, and what the members in
    torch make of them."""
    table = take_columns(checked.manifest, ("img_name", "path"), checked.row_ids)
    first = ~table["path"].map(name_whole).duplicated()
    table, labels = table[first][:count], checked.manifest.labels[checked.row_ids][first][:count]
    paths = table["path"].map(name_whole)
    contents = read_row_files(checked.manifest, paths, root, bytearray)
    samples = []
    for number, (name, path, content) in enumerate(
        zip(table["img_name"].map(name_whole), paths, contents, strict=True)
    ):
        suffix = Path(name).suffix.lower() if name_file(path) == path else ".png"
        file = f"{SAMPLES}/{number}{suffix}"
        with write_atomic(folder / file) as target:
            target.write(content)
        picture = GivenPicture(name, partial(bytearray, content))
        [row] = label_read(scorer, [reader.read(picture, scorer.list_sights())])
        label = {0: REAL, 1: FAKE}.get(int(labels[number]), "")
        samples.append(Sample(name=name, file=file, label=label, log_odds=row.log_odds))
    return tuple(samples)


def name_whole(address: str) -> str:
    """The picture that a row is, or a part of: a file, or a frame of a video."""
    return str(parse_address(address)._replace(box=None))
