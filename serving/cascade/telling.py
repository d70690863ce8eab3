"""What a cascade costs and loses, as lines for a terminal."""

from features.core.number_text import format_difference, format_percent
from serving.format.cascade import LEAST_SAVING, CascadeFacts, format_loss
from serving.format.facts import RateFacts


def describe_cascade(cascade: CascadeFacts) -> list[str]:
    """The order of networks, then a line for each rule; or why there is none."""
    if cascade.reason:
        return [f"none: {cascade.reason}"]
    costs = ", ".join(f"{name} {cost / 1e6:,.1f} M" for name, cost in cascade.operations.items())
    lines = [f"multiplications for a picture: {costs}"]
    useful = [rule for rule in cascade.rules if rule.saving >= LEAST_SAVING]
    if not useful:
        return [*lines, f"none: no rule saves {LEAST_SAVING} times"]
    for rule in useful:
        first = " and ".join(cascade.steps[rule.step].backbones)
        auc, accuracy = _write_loss(rule.auc_loss), _write_loss(rule.accuracy_loss)
        on_val = ""
        if rule.val_auc_loss and rule.val_accuracy_loss:
            found = (_write_loss(rule.val_auc_loss), _write_loss(rule.val_accuracy_loss))
            on_val = f"; on val {found[0]} and {found[1]}"
        lines.append(
            f"--max-loss {format_loss(rule.promised_loss)}: {rule.saving:.2f} times less, "
            f"{first} alone for {format_percent(rule.stopped)} of pictures; "
            f"AUC loses {auc}, balanced accuracy {accuracy}{on_val}"
        )
    return lines


def _write_loss(loss: RateFacts) -> str:
    return format_difference(loss.value, loss.low, loss.high)
