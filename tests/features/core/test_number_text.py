"""One text for a figure and its interval, wherever it stands."""

import pytest

from features.core.number_text import (
    format_bounds,
    format_difference,
    format_figure,
    format_least,
    format_margin,
    format_of_hundred,
    format_percent,
)


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        ((0.95602, 0.94125, 0.96712), "0.956 [0.941, 0.968]"),
        ((0.95, 0.94, 0.97), "0.950 [0.940, 0.970]"),  # 0.94 * 1000 is below 940
        ((1.0, 0.99996, 1.0), "1.000 [0.999, 1.000]"),
        ((0.0, 0.0, 0.0004), "0.000 [0.000, 0.001]"),
        ((10.5, 10.25, 20.7501), "10.500 [10.250, 20.751]"),
        ((-1.5187, -2.2705, -0.7669), "-1.519 [-2.271, -0.766]"),
        ((0.5, None, None), "0.500"),
        ((None, None, None), "–"),
        ((-0.0002, -0.0002, -0.0002), "0.000 [-0.001, 0.000]"),
    ],
)
def test_an_interval_never_shrinks_to_fit(figure, text):
    assert format_figure(*figure) == text


@pytest.mark.parametrize(
    ("difference", "text"),
    [
        ((0.00312, -0.00021, 0.00635), "+0.0031 [-0.0003, +0.0064]"),
        ((-0.00001, -0.02637, 0.02565), "+0.0000 [-0.0264, +0.0257]"),
        ((-0.5, -10.25, -0.00001), "-0.5000 [-10.2500, +0.0000]"),
        ((0.01, None, None), "+0.0100"),
        ((None, None, None), "–"),
    ],
)
def test_a_difference_has_signs_and_one_digit_more(difference, text):
    assert format_difference(*difference) == text


def test_bounds_alone_go_outwards():
    assert format_bounds(0.94125, 0.96712) == "[0.941, 0.968]"
    assert format_least(0.00129) == "+0.0012"
    assert format_least(-0.00121) == "-0.0013"


def test_a_margin_is_rounded_up():
    assert format_margin(0.95604, 0.01201) == "0.9560 ± 0.0121"
    assert format_margin(0.05, 0.0225, "+") == "+0.0500 ± 0.0225"
    assert format_margin(0.05, None) == "0.0500"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.417, "42 %"), (0.0417, "4.2 %"), (0.931, "93.1 %"), (1.0, "100.0 %"), (0.0, "0.0 %")],
)
def test_percent_has_more_digits_at_the_ends(share, text):
    assert format_percent(share) == text


def test_of_a_hundred_with_an_interval():
    assert format_of_hundred(0.042, 0.0314, 0.0561) == "4.2 [3.1, 5.7]"
    assert format_of_hundred(0.5, 0.414, 0.586) == "50 [41, 59]"
    assert format_of_hundred(0.5) == "50"
