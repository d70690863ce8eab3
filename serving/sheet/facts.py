"""All facts of a sheet, before a word is written.

facts = gather_facts(Ensemble.load("ensemble"), content, "holiday.jpg")
facts.label, [row.label for row in facts.copies]
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.core.files import digest_bytes
from features.errors import ImageProblem, PictureError
from features.faces.crops import PicturePart
from features.pixels.decoding import decode_pixels
from features.pixels.kernels import PLAIN
from features.pixels.opening import open_image
from features.videos.addresses import Box, cut_box
from serving.ensemble.ensemble import Ensemble
from serving.ensemble.rows import LabelledPicture
from serving.format.facts import BundleFacts
from serving.provenance.finding import find_marks
from serving.provenance.marks import Mark
from serving.reading.pictures import GivenPicture
from serving.reading.reader import PictureReader
from serving.reading.shown import join_rows, show_row
from serving.sheet.blocks import BlockShares, share_blocks
from serving.sheet.copies import list_copies
from serving.sheet.covering import CoverMap, map_covering
from serving.sheet.frames import PictureFrame, frame_part
from serving.sheet.neighbours import NearPicture, find_near_pictures
from stage2_ensemble.decisions.conformal import REVIEW
from stage2_ensemble.decisions.rules import DecisionRules
from stage2_ensemble.decisions.units import Pooling


@dataclass(frozen=True)
class SheetFacts:
    """Of one picture."""

    bundle: BundleFacts
    bundle_digest: str
    rules: DecisionRules
    """Those that read the picture's score."""
    digest: str
    """sha256 of the file."""
    pixels: npt.NDArray[np.uint8]
    """`(h, w, 3)`, upright."""
    row: LabelledPicture
    """As the command `label` gives it."""
    faces: tuple[PictureFrame, ...] | None
    """All that were found; `None` where none are looked for."""
    parts: tuple[PicturePart, ...]
    """What of the picture was scored."""
    pooling: Pooling
    """How the scores of several parts become one."""
    loudest: int
    """Which of them speaks loudest for fake; `maps`, `shares` and `near` are about it alone."""
    copies: tuple[LabelledPicture, ...]
    maps: tuple[CoverMap, ...]
    shares: BlockShares | None
    near: tuple[NearPicture, ...]
    marks: tuple[Mark, ...]

    @property
    def explained(self) -> npt.NDArray[np.uint8]:
        """Pixels of the part that `maps` show."""
        return cut_box(self.pixels, self.parts[self.loudest].box)

    @property
    def flips(self) -> tuple[str, ...]:
        """Copies that get another decided label than the picture, which has one."""
        decided = {self.row.label, REVIEW}
        if self.row.label == REVIEW:
            return ()
        return tuple(c.name for c in self.copies if c.is_readable and c.label not in decided)

    @property
    def label(self) -> str:
        """That of the bundle's rules, or `review` where it does not last."""
        return REVIEW if self.flips else self.row.label


def gather_facts(ensemble: Ensemble, content: bytes | bytearray, name: str) -> SheetFacts:
    """`content` is that of a file. Raises `PictureError` where it cannot be read."""
    content, limits = bytearray(content), ensemble.facts.pixels.limits
    [row] = ensemble.label_batch([GivenPicture(name, lambda: content)])
    if not row.is_readable:
        raise PictureError(name, [row.status])
    try:
        pixels = decode_pixels(content, open_image(content, limits), PLAIN).pixels
        marks = find_marks(content, limits)
    except ImageProblem as problem:
        raise PictureError(name, [str(problem)]) from None
    scorer, reader = ensemble.scorer, ensemble.reader
    parts = reader.find_parts(pixels)
    drawn = [reader.draw_part(pixels, part, scorer.list_sights()) for part in parts]
    rows = [show_row(canvases) for canvases in drawn]
    loudest = int(scorer.score(join_rows(rows)).log_odds.argmax())
    return SheetFacts(
        bundle=ensemble.facts,
        bundle_digest=ensemble.bundle.digest,
        rules=scorer.second_stage.choose_rules(is_unit=bool(row.faces)),
        digest=digest_bytes(content),
        pixels=pixels,
        row=row,
        faces=_frame_faces(reader, pixels),
        parts=tuple(parts),
        pooling=scorer.second_stage.pooling,
        loudest=loudest,
        copies=tuple(ensemble.label_batch(list_copies(pixels))),
        maps=tuple(map_covering(ensemble, drawn[loudest])),
        shares=share_blocks(scorer, rows[loudest]),
        near=find_near_pictures(ensemble, rows[loudest]),
        marks=marks,
    )


def _frame_faces(
    reader: PictureReader, pixels: npt.NDArray[np.uint8]
) -> tuple[PictureFrame, ...] | None:
    faces = reader.find_faces(pixels)
    if faces is None:
        return None
    boxes = faces[:, :4].round().astype(int).tolist()
    return tuple(frame_part(Box(*box), *pixels.shape[:2]) for box in boxes)
