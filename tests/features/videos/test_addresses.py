"""What frames are called."""

import numpy as np
import pytest

from features.errors import ImageProblem
from features.videos.addresses import Address, Box, cut_box, name_file, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("a/clip.mp4#t=1.2", Address("a/clip.mp4", 1.2)),
        ("clip.mp4#t=0", Address("clip.mp4", 0.0)),
        ("take #3.png", Address("take #3.png")),
        ("a#t=x.png", Address("a#t=x.png")),
        ("clip #2.mp4#t=0.04", Address("clip #2.mp4", 0.04)),
        ("a.jpg#xywh=0,1,20,20", Address("a.jpg", None, Box(0, 1, 20, 20))),
        ("a.mp4#t=3&xywh=0,1,20,20", Address("a.mp4", 3.0, Box(0, 1, 20, 20))),
        ("a.jpg#xywh=0,1,20", Address("a.jpg#xywh=0,1,20")),
    ],
)
def test_an_address_is_what_it_was_written_from(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text
    assert name_file(text) == address.file


def test_times_are_written_to_the_millisecond() -> None:
    assert str(Address("a.mp4", 1 / 3)) == "a.mp4#t=0.333"
    assert str(Address("a.mp4", 20.0)) == "a.mp4#t=20"


def test_a_part_that_is_not_there_is_a_problem() -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    np.testing.assert_array_equal(cut_box(pixels, Box(1, 2, 3, 2)), pixels[2:4, 1:4])
    assert cut_box(pixels, None) is pixels
    with pytest.raises(ImageProblem, match="6 x 4 pixels, so there is no part 4,0,3,3"):
        cut_box(pixels, Box(4, 0, 3, 3))
