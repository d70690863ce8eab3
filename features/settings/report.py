"""Settings of the gallery and of the report's pictures: the section `report`."""

from pydantic import Field

from features.settings.images import LinkedData, TrainedImages
from features.settings.members import MembersParams
from features.settings.sections import Section


class Report(Section):
    """Which rows of val the report shows."""

    rows: int = Field(200, ge=0, le=400)
    """Pictures of val; the page holds about 25 kB for each."""
    neighbours: int = Field(3, ge=0, le=6)
    """Most similar rows of train beside each of them."""


class GalleryParams(MembersParams):
    """What `gallery` reads."""

    report: Report


class ReportParams(MembersParams):
    """What `report` reads."""

    data: LinkedData
    images: TrainedImages
