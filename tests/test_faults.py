"""docs/faults.md says what the marks of tests say."""

from fault_page import PAGE, build_page, collect_faults


def test_the_page_is_made_from_the_marks():
    assert PAGE.read_text(encoding="utf-8") == build_page(), "run: make fault-page"


def test_most_of_what_people_hit_is_tried():
    assert len(collect_faults()) >= 60
