"""What the embedded default may be told: how many images, how large, from which seed."""

from pydantic import Field

from features.settings.sections import Place, Section, Seed, StageParams


class DemoSection(Section):
    """The embedded default: how many images each role gets, their size and the seed."""

    train: int = Field(
        4000, ge=24, le=200_000, description="Images of the train set, 4.3 fakes a real."
    )
    val: int = Field(
        1200, ge=12, le=200_000, description="Images of the val set, 1.5 fakes a real."
    )
    test: int = Field(1200, ge=6, le=200_000, description="Images of the test set, without labels.")
    size: int = Field(96, ge=48, le=256, description="Width and height of every image, pixels.")
    seed: Seed = Field(0, description="Same seed and counts, same bytes.")


class DemoRoot(StageParams):
    """The one setting of section `data` that decides whether a demo is made."""

    root: Place = Field(description="Folder of the images; data/demo is the demo's own.")


class DemoParams(StageParams):
    """What stage `demo` reads."""

    data: DemoRoot
    demo: DemoSection = Field(default_factory=DemoSection)
