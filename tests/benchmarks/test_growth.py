"""Growth: what is told of time that a constant start hides."""

import pytest

from benchmarks.growth import Cost, describe_growth

PICTURES = [500, 1000, 2000, 4000]


@pytest.mark.parametrize(
    ("power", "rate", "told"), [(1, 4, "1.00"), (2, 4, "2.40"), (1, 0.1, "–"), (0, 4, "–")]
)
def test_growth_is_told_beside_a_constant_start(power: int, rate: float, told: str) -> None:
    costs = [Cost(3 + rate * (count / 1000) ** power, 0, 0) for count in PICTURES]
    assert describe_growth(costs, PICTURES) == told


def test_two_sizes_say_nothing_of_growth() -> None:
    assert describe_growth([Cost(1, 0, 0), Cost(9, 0, 0)], PICTURES[:2]) == "–"
