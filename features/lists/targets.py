"""Targets of a list as labels: as `data.classes` spells them, or in a spelling that means the same.

`1.0` is `1`, `Real` is `real`; `0.3` is neither. A spelling that fits both classes is none.
"""

import re
from collections import Counter
from collections.abc import Mapping

from features.core.manifest import NO_LABEL
from features.settings.data import ClassNames

INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u200e\u200f\u00ad"))
"""Characters that nobody sees, for `str.translate`: marks of width, direction, byte order."""
_WHOLE = re.compile(r"(\d+)[.,]0*")


def clean_text(text: str) -> str:
    """`text` without invisible characters and without spaces, of any kind, around it."""
    return text.translate(INVISIBLE).replace("\u00a0", " ").strip()


def simplify_target(text: str) -> str:
    """What different spellings of one target have in common: `1.0` and `1`, `Real` and `real`."""
    text = clean_text(text)
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text.casefold()


class TargetLabels:
    """Labels by target; counts the targets that were read in another spelling."""

    def __init__(self, classes: ClassNames, words: Mapping[str, int]) -> None:
        """`words` are what the form of the list itself calls its classes, such as REAL."""
        self.exact = {**dict.fromkeys(classes.real, 0), **dict.fromkeys(classes.fake, 1)}
        both: dict[str, set[int]] = {}
        for text, label in self.exact.items():
            both.setdefault(simplify_target(text), set()).add(label)
        self._loose = {text: min(labels) for text, labels in both.items() if len(labels) == 1}
        for text, label in words.items():
            self._loose.setdefault(simplify_target(text), label)
        self._respelt: Counter[tuple[str, int]] = Counter()

    def find_label(self, text: str) -> int:
        """0 real, 1 fake, -1 neither, for a target that is not in `exact`."""
        label = self._loose.get(simplify_target(text), NO_LABEL)
        if label != NO_LABEL:
            self._respelt[text, label] += 1
        return label

    def list_notes(self) -> list[str]:
        """One line for each spelling that was read: `targets '1.0' read as fake: 20`."""
        return [
            f"targets {text!r} read as {('real', 'fake')[label]}: {n:,}"
            for (text, label), n in self._respelt.most_common()
        ]
