"""What frames are called."""

import pytest

from features.videos.addresses import Address, name_file, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("a/clip.mp4#t=1.2", Address("a/clip.mp4", 1.2)),
        ("clip.mp4#t=0", Address("clip.mp4", 0.0)),
        ("take #3.png", Address("take #3.png")),
        ("a#t=x.png", Address("a#t=x.png")),
        ("clip #2.mp4#t=0.04", Address("clip #2.mp4", 0.04)),
    ],
)
def test_an_address_is_what_it_was_written_from(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text
    assert name_file(text) == address.file


def test_times_are_written_to_the_millisecond() -> None:
    assert str(Address("a.mp4", 1 / 3)) == "a.mp4#t=0.333"
    assert str(Address("a.mp4", 20.0)) == "a.mp4#t=20"
