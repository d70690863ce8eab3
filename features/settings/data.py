"""Settings of `prepare`: where the data are, how rows are split, how large images are kept."""

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from features.settings.images import Limits, PreparedImages
from features.settings.sections import Place, Section, Seed, StageParams

Fraction = Annotated[float, Field(ge=0, lt=1)]


class RoleFiles(Section):
    """The list of one role and the folder of its images, relative to `data.root`."""

    labels: Place | None
    """File with a header: names and, but for `test`, targets; text, Parquet, or DFDC's metadata in
    JSON. It may lie anywhere. With a `*` it stands for several, as `shard_*/labels.csv`, and a `*`
    of `images` for the same as here. `null`: there is no list, and `images` holds a folder of each
    class (`test`: the images themselves)."""
    images: str | None
    """Folder that the names of the list are relative to, below `data.root`; or shards: a folder of
    `.tar` or `.parquet` files, or a pattern of their names, `shards/train-*.tar`. Without a list
    they say themselves what is real. `null`, in all roles: there are lists and no pictures, for
    scores from outside alone."""

    @field_validator("images")
    @classmethod
    def _check_inside(cls, images: str | None) -> str | None:
        if images is None:
            return None
        path = PurePosixPath(images)
        if path.is_absolute() or ".." in path.parts:
            advice = "name a folder above all images as data.root, and this one relative to it"
            raise ValueError(f"it leads outside data.root: {advice}")
        return images

    @model_validator(mode="after")
    def _check_any(self) -> Self:
        if self.labels is None and self.images is None:
            raise ValueError("labels and images are both null: there is nothing to read")
        if self.labels is not None and self.labels.count("*") > 1:
            raise ValueError(f"labels {self.labels}: one * is enough for lists of several folders")
        return self


class Columns(Section):
    """Names of the label files' columns."""

    name: str = "img_name"
    target: str = "target"
    weight: str | None = None
    """Optional positive weight of a row in losses and fits."""
    draw_weight: str | None = None
    """Optional positive weight of a row in the draws of `sampling.mode: weighted`."""
    generator: str | None = None
    """Optional name of what made a fake (empty for reals); val metrics are given by it."""
    source: str | None = None
    """Optional name of where a row comes from, real or fake: a data set, a camera, a site (empty:
    unknown); which reals are called fake is given by it."""
    unit: str | None = None
    """Optional name of what a row is a part of (a video, a person; empty: nothing). Rows of a unit
    stay together as those of `data.group_columns` do; scores and metrics are also given by unit. A
    test list need not have it."""


class ClassNames(Section):
    """Targets as written in the label files, and names of class folders where there is no list."""

    real: tuple[str, ...] = ("0",)
    fake: tuple[str, ...] = ("1",)
    real_folders: tuple[str, ...] = ("real",)
    fake_folders: tuple[str, ...] = ("fake",)

    @field_validator("*", mode="before")
    @classmethod
    def _take_as_text(cls, values: Any) -> Any:
        """One value instead of a list is fine, and numbers are: cells of a file are text."""
        values = values if isinstance(values, list | tuple) else [values]
        return [str(v) if isinstance(v, int | float) else v for v in values]

    @model_validator(mode="after")
    def _check_disjoint(self) -> Self:
        if both := set(self.real) & set(self.fake):
            raise ValueError(f"targets stand for both classes: {sorted(both)}")
        if both := set(self.real_folders) & set(self.fake_folders):
            raise ValueError(f"folders stand for both classes: {sorted(both)}")
        return self


class Data(Limits):
    """Where the data are, how the label files are read, which images are used."""

    root: Place
    """Folder of the data; no list and no folder leads to an image outside it, but for links
    into `trusted` folders."""
    trusted: tuple[Place, ...] = ()
    """Folders outside `root` that links below it may lead into, such as a disk of pictures. DVC's
    cache of this project is trusted anyway."""
    train: RoleFiles = RoleFiles(labels="trainset_label.txt", images="trainset")
    val: RoleFiles | None = RoleFiles(labels="valset_label.txt", images="valset")
    """`null`: val is carved out of train, by group (`split.val_fraction`)."""
    test: RoleFiles | None = RoleFiles(labels="testset_nolabel.txt", images="testset")
    """`null`: there is nothing to label."""
    final: bool = False
    """`true`: val joins train before folds are dealt out, for the last answer. There is no held-out
    val then: nothing is carved out of train, blended (`split.blend_from_val`) or held out
    (`split.hold_out`), whatever `split` says. Thresholds and calibration come from out-of-fold
    rows, as ever."""
    columns: Columns = Columns()
    classes: ClassNames = ClassNames()
    group_columns: tuple[str, ...] = ()
    """Columns of the label files; rows that share a value stay together."""
    label_overrides: Place | None = None
    """`review.csv` of the report, relative to the folder of `params.yaml`: labels that somebody
    corrected. Models learn from the corrected ones; on val both count, the list's as headline."""
    max_bad_fraction: Fraction = 0.01
    """Share of a role's rows that may be quarantined before `prepare` fails."""

    @property
    def roles(self) -> dict[str, RoleFiles]:
        """The files of train, val and test, without those that are null."""
        found = {"train": self.train, "val": self.val, "test": self.test}
        return {role: files for role, files in found.items() if files is not None}

    @field_validator("group_columns")
    @classmethod
    def _check_once(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(columns)) < len(columns):
            raise ValueError("a column stands twice")
        return columns

    @model_validator(mode="after")
    def _check_alike(self) -> Self:
        if len({files.images is None for files in self.roles.values()}) > 1:
            raise ValueError("images is null in some roles: there are pictures in all, or in none")
        return self

    @property
    def has_pictures(self) -> bool:
        """Whether there is more than lists."""
        return self.train.images is not None


class Split(Section):
    """How val comes about, and what happens to pictures that stand in two roles."""

    hold_out: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Label column to values: such train rows move to val, as domains that no member has seen."""
    cross_role_duplicates: Literal["drop_train", "report", "error"] = "drop_train"
    """What happens to train rows that show the same picture as a val row."""

    val_fraction: Fraction = 0.1
    """Share of train carved out as val where `data.val` is null."""
    blend_from_val: Fraction = 0.0
    """Share of val moved, by group, into the only active fold, so that members learn from all of
    train."""

    @field_validator("hold_out", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """One value instead of a list is fine, and so is a number: cells of a file are text."""
        if not isinstance(value, dict):
            return value
        listed = {k: v if isinstance(v, list | tuple) else [v] for k, v in value.items()}
        return {
            k: [str(x) if isinstance(x, int | float) else x for x in v] for k, v in listed.items()
        }


class Folds(Section):
    """Folds of the train rows."""

    count: Annotated[int, Field(ge=2)] = 5
    """Members of fold k learn from the rows of the other `count - 1` folds."""
    active: tuple[NonNegativeInt, ...]
    """Folds that get members and stackers; `[0]` is a plain hold-out blend."""
    calibration: Fraction = 0.05
    """Share of train, by group, that nothing but thresholds learns from (several active folds)."""
    calibration_min: PositiveInt = 100
    """At least so many calibration rows of each class."""

    @model_validator(mode="after")
    def _check_active(self) -> Self:
        if not self.active or len(set(self.active)) < len(self.active):
            raise ValueError(
                f"active must name each fold once, and at least one: {list(self.active)}"
            )
        if max(self.active) >= self.count:
            raise ValueError(f"active folds are 0..{self.count - 1}, found {list(self.active)}")
        return self


class PrepareParams(StageParams):
    """What `prepare` reads."""

    seed: Seed
    data: Data
    split: Split
    folds: Folds
    images: PreparedImages

    @model_validator(mode="after")
    def _check_blend(self) -> Self:
        if self.split.blend_from_val and len(self.folds.active) != 1:
            raise ValueError("split.blend_from_val needs exactly one fold in folds.active")
        return self
