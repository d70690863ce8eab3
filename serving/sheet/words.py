"""What the facts of a sheet say, in sentences."""

from collections.abc import Sequence

from scipy.special import expit, logit

from features.core.number_text import format_of_hundred, format_percent
from serving.format.facts import RateFacts, ValRates
from serving.sheet.facts import SheetFacts
from serving.sheet.neighbours import NearPicture
from stage2_ensemble.decisions.conformal import FAKE, REVIEW
from stage2_ensemble.decisions.rules import DecisionRules
from stage2_ensemble.decisions.units import Pooling
from stage2_ensemble.measures.shares import Share

PRIORS = (0.01, 0.1, 0.5)
"""Shares of fakes that a reader may think of; the bundle's own stands beside."""
SOURCES = {
    "train": "as in the pictures that were learned from",
    "given": "as was asked for",
    "estimate": "as was estimated when the bundle was made",
}
SAME = 0.995
"""Similarity from which on two pictures are one to the networks."""
SURE = 0.999
"""Probabilities beyond it are not told apart: no val is so large."""


def format_probability(log_odds: float) -> str:
    """`97.3 %`; of one near 0 or 1 that it is nearer."""
    probability = float(expit(log_odds))
    if probability > SURE:
        return f"over {100 * SURE:g} %"
    return (
        f"under {100 * (1 - SURE):.1f} %"
        if probability < 1 - SURE
        else f"{100 * probability:.1f} %"
    )


def describe_prior(rules: DecisionRules) -> str:
    """What share of fakes probabilities assume, and why."""
    prior = rules.prior
    return (
        f"That assumes that {format_percent(prior.value)} of such pictures are fake, "
        f"{SOURCES[prior.source]}."
    )


def list_priors(facts: SheetFacts) -> list[tuple[str, str, bool]]:
    """Shares of fakes, the probability at each, and whether it is the bundle's."""
    own = facts.rules.prior.value
    ratio = facts.row.log_odds - float(logit(own))
    shares = sorted({*PRIORS, own})
    return [
        (format_percent(share), format_probability(ratio + float(logit(share))), share == own)
        for share in shares
    ]


def explain_label(facts: SheetFacts) -> str:
    """Why the sheet says what it says."""
    if facts.flips:
        return (
            f"The bundle's rules call this file {facts.row.label}, but not when it is changed a "
            f"little ({', '.join(facts.flips)}). An answer that does not last is left to a person."
        )
    if facts.label == REVIEW:
        return "The score lies where the bundle's rules leave pictures to a person."
    if facts.rules.band:
        return f"The score lies where the bundle's rules call pictures {facts.label}."
    side = "at or above" if facts.label == FAKE else "below"
    return f"The score is {side} the bundle's threshold, {_write_threshold(facts)}."


def describe_faces(facts: SheetFacts) -> str:
    """What of the picture was looked at, where the bundle looks for faces."""
    if facts.faces is None:
        return ""
    found = f"{len(facts.faces)} faces were found and framed."
    if len(facts.faces) < 2:
        found = "1 face was found and framed." if facts.faces else "No face was found."
    crops = sum(part.box is not None for part in facts.parts)
    seen = ["the whole picture"] if crops < len(facts.parts) else []
    if crops:
        some = "the largest" if crops == 1 else f"{crops} of them"
        around = some if crops < len(facts.faces) else "it" if crops == 1 else "them"
        seen.append(f"the {'square' if crops == 1 else 'squares'} around {around}")
    told = f"{found} Looked at: {' and '.join(seen)}."
    return told if len(facts.parts) == 1 else f"{told} {_describe_pooling(facts.pooling)}"


def _describe_pooling(pooling: Pooling) -> str:
    which = "all" if pooling.top is None else f"the {pooling.top} highest"
    return f"The score is the mean of log-odds, of {which} of these."


def describe_explained(facts: SheetFacts) -> str:
    """Which of several parts the sections on causes are about."""
    if len(facts.parts) == 1:
        return ""
    box = facts.parts[facts.loudest].box
    part = "the whole picture" if box is None else "the square around one face"
    return f"Shown here, and in the sections below, is what speaks loudest for fake: {part}."


def describe_stability(facts: SheetFacts) -> str:
    """Whether the answer lasts."""
    readable = [copy for copy in facts.copies if copy.is_readable]
    if facts.flips:
        threshold = "" if facts.rules.band else f" The threshold is {_write_threshold(facts)}."
        return (
            f"The label flips in {len(facts.flips)} of {len(readable)} changed copies.{threshold}"
        )
    changed = [copy.name for copy in readable if copy.label != facts.row.label]
    if changed:
        return f"The label does not flip; it is not the same in: {', '.join(changed)}."
    return f"The label stays {facts.row.label} in all {len(readable)} changed copies."


def describe_similarity(similarity: float, usual: tuple[float, float]) -> str:
    """How near a picture of train is, beside how near such pictures are to each other.

    `usual`: quartiles of their similarity to the nearest other one of their class.
    """
    low, high = usual
    if similarity >= SAME:
        return "the same"
    return "near" if similarity > high else "far" if similarity < low else "usual distance"


def describe_nearness(near: Sequence[NearPicture]) -> str:
    """Whether any of them is near."""
    told = {describe_similarity(picture.similarity, picture.usual) for picture in near}
    if told == {"far"}:
        return "All are far: none of them is much like this picture."
    return ""


def describe_known_rates(facts: SheetFacts) -> str:
    """What the same rules did on pictures whose class is known."""
    if facts.bundle.val is not None:
        val = facts.bundle.val
        what = "single faces and pictures" if facts.bundle.pixels.faces else "pictures"
        where = f"On {what} that nothing was fitted on ({val.reals:,} reals, {val.fakes:,} fakes)"
        return f"{where}: {_describe_val(val)}. Brackets are 95 % intervals."
    rule = facts.rules.scorers[facts.bundle.shipped]
    called, found = _write_share(rule.threshold.fpr), _write_share(rule.threshold.tpr)
    return (
        "Nothing was measured on other pictures than those that the threshold was chosen on. Of "
        f"100 reals among these it called {called} fake, of 100 fakes it found {found}: on others "
        "it does worse. Brackets are 95 % intervals."
    )


def _write_threshold(facts: SheetFacts) -> str:
    return format_probability(facts.rules.find_threshold(facts.bundle.shipped))


def _describe_val(val: ValRates) -> str:
    called, missed = _write_rate(val.reals_called_fake), _write_rate(val.fakes_called_real)
    if val.reals_in_review is None or val.fakes_in_review is None:
        found = _write_rate(val.fakes_called_real.invert())
        return f"of 100 reals the rules called {called} fake, of 100 fakes they found {found}"
    open_reals, open_fakes = _write_rate(val.reals_in_review), _write_rate(val.fakes_in_review)
    return (
        f"of 100 reals the rules called {called} fake and left {open_reals} to review, of 100 "
        f"fakes they called {missed} real and left {open_fakes} to review"
    )


def _write_rate(rate: RateFacts) -> str:
    return format_of_hundred(rate.value, rate.low, rate.high)


def _write_share(share: Share) -> str:
    assert share.value is not None
    return format_of_hundred(share.value, share.low, share.high)
