"""What is said of sources: no more than intervals show, whatever names hold."""

from stage2_ensemble.sentences.called_fake import NO_SOURCES, list_called_fake


def draw_share(value, rows=100, name=None, shared=(0.0, 1.0)):
    share = {
        "called_fake": value,
        "called_fake_low": value - 0.05,
        "called_fake_high": value + 0.05,
    }
    share |= {"rows": rows, "groups": rows}
    ends = dict(zip(("shared_low", "shared_high"), shared, strict=True))
    return share if name is None else {**share, "name": name, **ends}


def draw_class(value, sources=(), generators=()):
    return {"all": draw_share(value, 1200), "sources": [*sources], "generators": [*generators]}


def say(reals, fakes=None):
    return list(list_called_fake({"reals": reals, "fakes": fakes or draw_class(0.9)}))


def test_a_source_above_the_rate_of_all_is_named():
    phone = draw_share(0.2, 80, "phone", (0.12, 0.3))
    (text,) = say(draw_class(0.1, [phone, draw_share(0.08, name="camera")]))
    assert text == (
        "Of 2 sources of reals the worst is phone: 0.200 [0.150, 0.250] of its 80 reals are called "
        "fake, more often than all 1,200 reals (0.100), with the risk of 5 % shared among the 2. "
        "Of reals from other sources val tells nothing."
    )


def test_what_may_be_chance_is_not_called_worse():
    phone = draw_share(0.2, 80, "phone", (0.09, 0.35))
    (text,) = say(draw_class(0.1, [phone, draw_share(0.08, name="camera")]))
    assert text.startswith(
        "None of 2 sources of reals is shown to be called fake more often than all 1,200 reals "
        "(0.100); the worst is phone: 0.200 [0.150, 0.250] of its 80 reals."
    )
    unknown = draw_share(0.2, 80, "phone", (None, None))
    assert say(draw_class(0.1, [unknown, unknown]))[0].startswith("None of 2 sources")


def test_one_source_is_held_against_nothing():
    (text,) = say(draw_class(0.1, [draw_share(0.1, 1200, "[b]x")]))
    assert text == (
        "One source of reals is named, [b]x: 0.100 [0.050, 0.150] of its 1,200 reals are called "
        "fake. Of reals from other sources val tells nothing."
    )


def test_one_source_beside_rows_without_one_may_be_worse():
    (text,) = say(draw_class(0.1, [draw_share(0.3, 200, "phone", (0.2, 0.4))]))
    assert text == (
        "One source of reals is named, phone: 0.300 [0.250, 0.350] of its 200 reals are called "
        "fake, more often than all 1,200 reals (0.100). Of reals from other sources val tells "
        "nothing."
    )


def test_without_sources_it_says_that_nothing_is_known_of_them():
    generator = draw_share(0.5, name="warp", shared=(0.4, 0.6))
    fakes = draw_class(0.9, generators=[generator, draw_share(0.95, name="gan")])
    texts = say(draw_class(0.1), fakes)
    assert texts[0] == NO_SOURCES
    assert texts[1].startswith("Of 2 generators of fakes the worst is warp: 0.500")
    assert "less often than all 1,200 fakes (0.900)" in texts[1]
    assert len(texts) == 2
