"""How a reject is drawn: its row in the list, and the whole of it with its neighbour."""

from __future__ import annotations

from textual.content import Content

from alpaca_tui.core.visible import printable
from alpaca_tui.store.browse import Reject
from alpaca_tui.ui import review_card
from alpaca_tui.ui.glyphs import Glyphs
from alpaca_tui.ui.literal import literal, literal_line
from alpaca_tui.ui.widgets.lines import EMPTY

_RULE_CELLS = 14


def line(reject: Reject, width: int, glyphs: Glyphs) -> Content:
    """One row: instruction or sample, the rule, its score, the first words."""
    score = f"{reject.score:.2f}" if reject.score is not None else ""
    text = literal_line(reject.text, newline=glyphs.newline)
    rule = literal_line(reject.rule.replace("_", " "), "$error").truncate(_RULE_CELLS, ellipsis=True)
    pad = " " * (_RULE_CELLS + 1 - rule.cell_length)
    kind = "S" if reject.kind == "sample" else "I"
    whole = Content.assemble((f"{kind} ", "$secondary bold"), rule, (f"{pad}{score:>6} ", "$muted"), text)
    return whole.truncate(width, ellipsis=True)


def paragraphs(reject: Reject) -> list[Content]:
    """One reject: the rule and its score, the text, the neighbour with what they share underlined."""
    score = review_card.figures_of(reject.score, reject.threshold)
    lines = [
        Content.assemble(
            literal_line(reject.rule.replace("_", " "), "$error bold"), (f" {score}", "bold"),
            (f"  {printable(reject.detail)}" if reject.detail else "", "$muted"),
        ),
        EMPTY,
    ]  # fmt: skip
    name = f"{reject.kind} {reject.id}"
    if reject.neighbour_text is None:
        return [*lines, review_card.heading(name), literal(reject.text, limit=review_card.MAX_SHOWN)]
    return [
        *lines,
        review_card.heading(name),
        review_card.highlighted(reject.text[: review_card.MAX_SHOWN], reject.neighbour_text),
        EMPTY,
        review_card.heading("Nearest neighbour", printable(reject.neighbour or "")),
        review_card.highlighted(reject.neighbour_text[: review_card.MAX_SHOWN], reject.text),
        EMPTY,
        Content.assemble(("underlined", review_card.MATCH), (" words are the longest common subsequence", "$muted")),
    ]
