"""What a cascade costs and loses, as lines for a terminal."""

from features.core.number_text import format_difference, format_percent
from serving.format.cascade import LEAST_SAVING, CascadeFacts, format_loss


def describe_cascade(cascade: CascadeFacts) -> list[str]:
    """The order of networks, then a line for each rule; or why there is none."""
    if cascade.reason:
        return [f"none: {cascade.reason}"]
    costs = ", ".join(f"{name} {cascade.operations[name] / 1e6:,.1f} M" for name in cascade.order)
    lines = [f"multiplications for a picture: {costs}"]
    useful = [rule for rule in cascade.rules if rule.saving >= LEAST_SAVING]
    if not useful:
        return [*lines, f"none: no rule saves {LEAST_SAVING} times"]
    for rule in useful:
        first = " and ".join(cascade.steps[rule.step].backbones)
        auc, accuracy = (
            format_difference(loss.value, loss.low, loss.high)
            for loss in (rule.auc_loss, rule.accuracy_loss)
        )
        lines.append(
            f"--max-loss {format_loss(rule.promised_loss)}: {rule.saving:.2f} times less, "
            f"{first} alone for {format_percent(rule.stopped)} of pictures; "
            f"AUC loses {auc}, balanced accuracy {accuracy}"
        )
    return lines
