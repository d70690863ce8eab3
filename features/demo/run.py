"""What `python -m features.demo` does."""

import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from features.core.files import name_place, write_text
from features.demo.forgeries import GENERATORS
from features.demo.images import PlannedImage, build_lines, draw_images, plan_images
from features.demo.photos import PHOTOS
from features.runtime.progress import track
from features.settings.demo import DemoParams, DemoSection

_log = logging.getLogger("forgerystack")

DEMO_ROOT = Path("data/demo")


def run(params: DemoParams, out: Path = DEMO_ROOT, jobs: int = -1) -> None:
    """Writes the demo task to `out`, or one line where `data.root` is another folder."""
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # what a killed run left
    temporary.mkdir(parents=True)
    try:
        if Path(params.data.root) == DEMO_ROOT:
            for role in PHOTOS:
                write_role(role, temporary, params.demo, jobs)
        else:
            line = f"data.root is {params.data.root}: no demo made"
            write_text(temporary / "README.txt", f"{line}\n")
            _log.info(line)
        shutil.rmtree(out, ignore_errors=True)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_role(role: str, folder: Path, section: DemoSection, jobs: int) -> None:
    """One role's images and list file, into `folder`."""
    counts = {"train": section.train, "val": section.val, "test": section.test}
    plan = plan_images(role, counts[role], section.seed)
    images = folder / f"{role}set"
    images.mkdir()
    drawn = draw_images(role, plan, section, jobs)
    for planned, content in zip(
        plan, track(drawn, f"demo {role}", len(plan), unit="images"), strict=True
    ):
        with name_place(images / planned.name):
            (images / planned.name).write_bytes(content)
    name = f"{role}set_nolabel.txt" if role == "test" else f"{role}set_label.txt"
    text = "\n".join(build_lines(role, plan)) + "\n"
    write_text(folder / name, text)
    log_role(role, plan)


def log_role(role: str, plan: Sequence[PlannedImage]) -> None:
    """One line: images by class, photographs, groups, fakes by generator."""
    fakes = sum(image.target for image in plan)
    by_generator = Counter(image.generator for image in plan if image.generator)
    _log.info(
        "%s: %d real, %d fake from %d photographs, %d tiles (%s)",
        role,
        len(plan) - fakes,
        fakes,
        len({image.tile.photo for image in plan}),
        len({image.tile for image in plan}),
        ", ".join(f"{name} {by_generator[name]}" for name in GENERATORS if by_generator[name]),
    )
