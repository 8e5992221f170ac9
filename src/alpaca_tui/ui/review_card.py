"""How a sample is laid out for judging: its texts, the rules, the nearest neighbour, where it came from."""

from __future__ import annotations

from textual.content import Content, Span

from alpaca_tui.core.visible import printable
from alpaca_tui.store.samples import VerdictRow
from alpaca_tui.ui.glyphs import Glyphs
from alpaca_tui.ui.literal import MAX_SHOWN, literal, literal_line
from alpaca_tui.ui.review_queue import Card
from alpaca_tui.ui.widgets.lines import EMPTY

MATCH = "underline $match"
DEMONSTRATION_CELLS = 90
"""How much of a demonstration is quoted; p shows the whole prompt."""


def heading(text: str, note: str = "") -> Content:
    """A part's title."""
    return Content.assemble((text.upper(), "$accent bold"), (f"  {note}" if note else "", "$faint"))


def named(text: str, note: str = "") -> Content:
    """A title that came from elsewhere, to the letter."""
    return Content.assemble(literal_line(text, "$accent bold"), (f"  {note}" if note else "", "$faint"))


def highlighted(text: str, other: str) -> Content:
    """The text with the words underlined that a longest common subsequence shares with the other."""
    from alpaca_tui.core.rouge import common_subsequence

    shown = printable(text)
    spans, _ = common_subsequence(shown, printable(other))
    return literal(shown).add_spans([Span(start, end, MATCH) for start, end in spans])


def explained(card: Card, glyphs: Glyphs) -> list[Content]:
    """Everything beside the texts: the neighbour first where there is one, the rules, the origin."""
    near, judged = neighbour(card, glyphs), rules(card, glyphs)
    first, second = (near, judged) if card.nearest else (judged, near)
    return [*first, EMPTY, *second, EMPTY, *origin(card, glyphs)]


def texts(card: Card, glyphs: Glyphs) -> list[Content]:
    """Instruction, input and output, to the letter."""
    row, near = card.row, card.nearest
    alike = near is not None and near.part == "instruction"
    if near is not None and near.neighbour_text and alike and len(row.instruction) < MAX_SHOWN:
        instruction = highlighted(row.instruction, near.neighbour_text)
    else:
        instruction = literal(row.instruction, limit=MAX_SHOWN)
    none = Content.styled("(none)", "$faint italic")
    tags = [Content("  ").join(literal_line(f"#{tag}", "$secondary bold") for tag in card.tags)] if card.tags else []
    return [
        *tags, _instruction_heading(card), instruction, EMPTY,
        heading("Input"), literal(row.input, limit=MAX_SHOWN) if row.input else none, EMPTY,
        heading("Output"), literal(row.output, limit=MAX_SHOWN) if row.output else none,
    ]  # fmt: skip


def _instruction_heading(card: Card) -> Content:
    """The title with what the task is; where the model was in doubt, how much, and the key that decides otherwise."""
    row = card.row
    kind = f"classification: {'yes' if row.is_classification else 'no'}"
    if card.flipped:
        return heading("Instruction", f"{kind}, said a person")
    if not row.low_margin:
        return heading("Instruction", "classification" if row.is_classification else "")
    # Without log-odds the answer was neither yes nor no.
    margin = row.classification_margin
    doubt = "no clear answer" if margin is None else f"margin {abs(margin):.2f}"
    return Content.assemble(heading("Instruction"), (f"  {kind}, {doubt}", "$warning"), (" — c flips", "$muted"))


def verdict_summary(card: Card, glyphs: Glyphs) -> Content:
    """All rules in one line: those that failed, the nearest neighbour."""
    failed = [v for v in card.verdicts if not v.passed]
    if failed:
        named = ", ".join(f"{_name(v)}{_score(v)}" for v in failed)
        line = Content.assemble((f"{glyphs.cross} ", "$error bold"), literal_line(named))
    else:
        line = Content.assemble((f"{glyphs.check} ", "$success bold"), (f"{len(card.verdicts)} rules passed", "$muted"))
    near = card.nearest
    if near is not None:
        known = literal_line(near.neighbour or "")
        score = (f"{near.score or 0:.2f} ", "bold")
        line = Content.assemble(line, (f"  {glyphs.dot}  nearest ", "$muted"), score, known)
    return line


def rules(card: Card, glyphs: Glyphs) -> list[Content]:
    """Every verdict: what failed first, then what has a score, then the plain passes in one paragraph."""
    failed = [v for v in card.verdicts if not v.passed]
    scored = [v for v in card.verdicts if v.passed and v.threshold is not None]
    plain = [v for v in card.verdicts if v.passed and v.threshold is None]
    lines = [heading("Rules", f"{len(card.verdicts) - len(failed)} of {len(card.verdicts)} passed; i: on the instance")]
    for verdict in [*failed, *scored]:
        sign = (f"{glyphs.check} ", "$success") if verdict.passed else (f"{glyphs.cross} ", "$error bold")
        lines.append(
            Content.assemble(
                sign,
                ("i " if verdict.part == "instance" else "  ", "$faint"),
                literal_line(f"{_name(verdict):<23}", "" if verdict.passed else "bold"),
                (_score(verdict), "$muted" if verdict.passed else "$error bold"),
                (f"  {printable(verdict.detail)}" if verdict.detail else "", "$muted"),
            )
        )
    if plain:
        names = ", ".join(_name(v) for v in plain)
        lines.append(Content.assemble((f"{glyphs.check} ", "$success"), literal_line(names, "$muted")))
    return lines


def _name(verdict: VerdictRow) -> str:
    return verdict.rule.replace("_", " ")


def _score(verdict: VerdictRow) -> str:
    shown = figures_of(verdict.score, verdict.threshold)
    return f" {shown}" if shown else ""


def figures_of(score: float | None, threshold: float | None) -> str:
    """A score beside its threshold, as far as there are any."""
    if score is None:
        return "" if threshold is None else f"limit {_figure(threshold)}"
    return _figure(score) if threshold is None else f"{_figure(score)} / {_figure(threshold)}"


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value == int(value) and value > 1 else f"{value:.2f}"


def neighbour(card: Card, glyphs: Glyphs) -> list[Content]:
    """The nearest known text, with what it shares with the sample underlined."""
    near = card.nearest
    if near is None or near.neighbour_text is None:
        floor = next((v.detail for v in card.verdicts if v.rule == "novelty" and v.detail), "")
        what = f"None: {floor}." if floor else "None is known."
        return [heading("Nearest neighbour"), literal(what, "$muted")]
    row = card.row
    mine = f"{row.input}\n{row.output}" if near.part == "instance" else row.instruction
    note = f"{near.neighbour}, ROUGE-L {near.score:.2f}" if near.score is not None else str(near.neighbour)
    return [
        heading("Nearest neighbour", printable(note)),
        highlighted(near.neighbour_text[:MAX_SHOWN], mine[:MAX_SHOWN]),
    ]


def origin(card: Card, glyphs: Glyphs) -> list[Content]:
    """The model calls and the demonstrations."""
    lines = [heading("Made by")]
    made = card.origin
    if made is None:
        return [*lines, Content.styled("unknown", "$muted")]
    lines.append(
        Content.assemble(
            literal_line(made.model, "bold"),
            (f"  call {made.instruction_completion_id} (instruction), call {made.completion_id} (instance)", "$muted"),
        )
    )
    if card.row.revision > 1:
        lines.append(literal_line(f"revision {card.row.revision}, by a {card.row.author}", "$muted"))
    for label, text in made.demonstrations:
        shown = literal_line(text, "$muted").truncate(DEMONSTRATION_CELLS, ellipsis=True)
        lines.append(Content.assemble((f"{label}  ", "$faint"), shown))
    return lines


def prompt_paragraphs(card: Card, database: object, glyphs: Glyphs) -> list[Content]:
    """The two prompts, rendered again from the stored pack and variables, and the model's raw answers.

    Raises AlpacaError where a pack can't be rendered any more.
    """
    from sqlite_utils import Database

    from alpaca_tui.core import prompts
    from alpaca_tui.store import browse, completions

    assert isinstance(database, Database)
    made = card.origin
    if made is None:
        return [Content("The model call behind this sample is not known.")]
    paragraphs: list[Content] = []
    for completion_id in dict.fromkeys((made.instruction_completion_id, made.completion_id)):
        template, variables, files = completions.pack_files(database, completion_id)
        prompt = prompts.render(prompts.parse_pack(files), template, variables)
        answer, problem = browse.completion_text(database, completion_id)
        paragraphs += [
            heading(f"Call {completion_id}: prompt", template.replace("_", " ")),
            literal(prompt),
            EMPTY,
            heading(f"Call {completion_id}: answer", printable(problem or "")),
            literal(answer, limit=MAX_SHOWN),
            EMPTY,
        ]
    return paragraphs
