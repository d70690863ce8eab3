"""What members are called in tables: which of them were not trained here."""

import pytest

from stage2_ensemble.results.form import title_backbone, title_member

METRICS = {"frozen": {"clip": 513}, "outside_figures": {"theirs": {}}}


@pytest.mark.parametrize(
    ("name", "title"),
    [("clip-0", "clip-0 (frozen)"), ("resnet-0", "resnet-0"), ("theirs-0", "theirs (declared)")],
)
def test_a_member_that_was_not_trained_here_is_marked(name, title):
    assert title_member(name, METRICS) == title
    assert title_member("clip-0", {}) == "clip-0"


def test_its_backbone_is_marked_too():
    assert title_backbone("clip", METRICS) == "clip (frozen)"
    assert title_backbone("resnet", METRICS) == "resnet"
