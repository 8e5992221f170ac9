"""One grammar for every filter line: ``status:pending rouge>0.6 len<40 -tag:math "two words"``.

A query is a list of terms between blanks, all of which must hold. A term is a word or a quoted phrase (looked for in
the texts, in any case), ``field:value`` with several values by comma (any of them), or ``field>number`` with one of
``<  <=  >  >=  =  !=``. A ``-`` before a term turns it round. The word ``all`` alone, like an empty line, asks nothing.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from alpaca_tui.core.errors import UsageError

Operator = Literal["<", "<=", ">", ">=", "=", "!="]

COMPARE: Mapping[Operator, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True, slots=True)
class Field:
    """What can be asked of one field: one of ``choices``, a number, or (neither) some text."""

    help: str
    choices: tuple[str, ...] = ()
    number: bool = False


Fields = Mapping[str, Field]

_YES_NO = ("yes", "no")

SAMPLES: Fields = {
    "status": Field("where it stands", ("pending", "accepted", "rejected", "filtered", "waiting")),
    "rule": Field("a rule that it failed"),
    "kind": Field("what its task is", ("classification", "generation")),
    "rouge": Field("its highest ROUGE-L score", number=True),
    "len": Field("words of the instruction", number=True),
    "in": Field("words of the input", number=True),
    "out": Field("words of the output", number=True),
    "margin": Field("log-odds by which classification was decided, either way", number=True),
    "doubtful": Field("whether classification was a close call that nobody has flipped", _YES_NO),
    "id": Field("its number", number=True),
    "seed": Field("a seed shown when it was invented, by number or id"),
    "model": Field("the model that wrote it"),
    "edited": Field("whether a person changed the text", _YES_NO),
    "tag": Field("a tag that it bears"),
    "reason": Field("why it was rejected"),
}
"""Of samples: the Review screen, ``review``, ``dataset freeze --query``."""

REJECTS: Fields = {
    "rule": Field("the rule that threw it out"),
    "kind": Field("what was thrown out", ("instruction", "sample")),
    "rouge": Field("its score under that rule", number=True),
    "len": Field("words of the instruction", number=True),
    "id": Field("its number", number=True),
}
"""Of what the rules threw out: the Filters screen."""

SEEDS: Fields = {
    "status": Field("whether it is drawn", ("on", "off")),
    "kind": Field("what the task is", ("classification", "generation")),
    "len": Field("words of the instruction", number=True),
    "id": Field("its number", number=True),
    "instances": Field("how many instances it has", number=True),
}
"""Of seed tasks: the Seeds screen."""

TASKS: Fields = {
    "kind": Field("what the task is", ("classification", "generation")),
    "rouge": Field("ROUGE-L of the second model's answer", number=True),
    "gain": Field("ROUGE-L that the second model gains over the first", number=True),
    "len": Field("words of the instruction", number=True),
    "id": Field("its number", number=True),
}
"""Of held-out tasks: the Evaluate screen."""

JOBS: Fields = {
    "status": Field(
        "its state", ("queued", "running", "stopping", "succeeded", "failed", "stopped", "interrupted", "active")
    ),
    "kind": Field("what it does", ("generate", "train", "evaluate")),
    "id": Field("its number", number=True),
}
"""Of jobs: the Jobs screen."""


class QueryError(UsageError):
    """A query that cannot be read. ``position`` is where, in characters from 0."""

    def __init__(self, position: int, what: str) -> None:
        super().__init__(f"cannot read the query at character {position + 1}: {what}")
        self.position = position


@dataclass(frozen=True, slots=True)
class Words:
    """The text stands somewhere in the texts, in any case."""

    text: str


@dataclass(frozen=True, slots=True)
class Is:
    """The field is one of the values (text fields: is it, in any case)."""

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """The field stands in this relation to the number."""

    field: str
    operator: Operator
    number: float


Condition = Words | Is | Compare


@dataclass(frozen=True, slots=True)
class Term:
    """A condition, or with ``negated`` its contrary."""

    condition: Condition
    negated: bool = False

    def __str__(self) -> str:
        return ("-" if self.negated else "") + _written(self.condition)


@dataclass(frozen=True, slots=True)
class Query:
    """All of the terms hold; of no terms, everything does."""

    terms: tuple[Term, ...] = ()

    def __str__(self) -> str:
        """The query as it could be typed."""
        return " ".join(str(term) for term in self.terms)

    def values(self, field: str) -> tuple[str, ...]:
        """What the first term on the field asks for; empty where none does, or by a contrary."""
        for term in self.terms:
            if isinstance(term.condition, Is) and term.condition.field == field and not term.negated:
                return term.condition.values
        return ()

    def replaced(self, field: str, value: str | None) -> Query:
        """The query with ``field:value`` (None: nothing) in the place of what it asks of the field."""
        rest = tuple(t for t in self.terms if isinstance(t.condition, Words) or t.condition.field != field)
        return Query(rest if value is None else (Term(Is(field, (value,))), *rest))


_OPERATOR = re.compile(r"([A-Za-z_]+)(<=|>=|!=|<|>|=|:)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PLAIN = re.compile(r'[^\s"]+')
_VALUE = re.compile(r'[^\s",]+')
_BLANK = re.compile(r"\s*")
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d*)?|\.\d+)")
_BARE = re.compile(r'[^\s"\\,:<>=!-][^\s"\\,:<>=!]*')


def parse(text: str, fields: Fields = SAMPLES) -> Query:
    """Read a query. Raises QueryError, which says where and what would be right."""
    if text.strip() == "all":
        return Query()
    terms: list[Term] = []
    at = _skip(text, 0)
    while at < len(text):
        term, at = _term(text, at, fields)
        terms.append(term)
        if at < len(text) and not text[at].isspace():
            raise QueryError(at, "a blank is missing between two terms")
        at = _skip(text, at)
    return Query(tuple(terms))


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _term(text: str, at: int, fields: Fields) -> tuple[Term, int]:
    negated = text[at] == "-"
    begin = at + negated
    named = _OPERATOR.match(text, begin)
    if named is not None:
        condition, end = _on_field(text, named, fields)
        return Term(condition, negated), end
    quoted = _quoted(text, begin)
    if quoted is not None:
        words, end = quoted
    else:
        plain = _PLAIN.match(text, begin)
        if plain is None:
            raise QueryError(at, "a word is missing after the -")
        words, end = plain.group(), plain.end()
    if not words.strip():
        raise QueryError(begin, "there is nothing between the quotation marks")
    return Term(Words(words), negated), end


def _quoted(text: str, at: int) -> tuple[str, int] | None:
    """What stands in the quotation marks that open at ``at``, and where it ends; None where none opens there."""
    if not text.startswith('"', at):
        return None
    found = _QUOTED.match(text, at)
    if found is None:
        raise QueryError(at, "the quotation mark is not closed")
    return re.sub(r"\\(.)", r"\1", found.group(1), flags=re.DOTALL), found.end()


def _on_field(text: str, named: re.Match[str], fields: Fields) -> tuple[Condition, int]:
    name, sign, at = named.group(1).lower(), named.group(2), named.end()
    field = fields.get(name)
    if field is None:
        known = ", ".join(fields)
        raise QueryError(
            named.start(), f"there is no field {name!r}; there are {known}. Put words to look for in quotation marks"
        )
    if field.number:
        number = _NUMBER.match(text, at)
        if number is None:
            raise QueryError(at, f"{name} needs a number, such as {name}>{'0.6' if name == 'rouge' else '40'}")
        return Compare(name, "=" if sign == ":" else _operator(sign), float(number.group())), number.end()
    if sign not in (":", "=", "!="):
        raise QueryError(named.start(2), f"{name} takes no {sign}; write {name}:{_example(field)}")
    if sign == "!=":
        raise QueryError(named.start(2), f"write -{name}:{_example(field)} for the contrary")
    values, end = _values(text, at, name, field)
    return Is(name, tuple(values)), end


def _operator(sign: str) -> Operator:
    return next(known for known in COMPARE if known == sign)


def _example(field: Field) -> str:
    return "|".join(field.choices) or "TEXT"


def _values(text: str, at: int, name: str, field: Field) -> tuple[list[str], int]:
    values: list[str] = []
    while True:
        begin = at
        quoted = _quoted(text, at)
        if quoted is not None:
            value, at = quoted
        else:
            found = _VALUE.match(text, at)
            if found is None:
                raise QueryError(at, f"a value is missing: {name}:{_example(field)}")
            value, at = found.group(), found.end()
        if field.choices:
            value = value.lower()
            if value not in field.choices:
                raise QueryError(begin, f"{name} cannot be {value!r}; it can be {', '.join(field.choices)}")
        elif not value.strip():
            raise QueryError(begin, "there is nothing between the quotation marks")
        values.append(value)
        if not text.startswith(",", at):
            return values, at
        at += 1


def _written(condition: Condition) -> str:
    if isinstance(condition, Words):
        return _spelt(condition.text)
    if isinstance(condition, Is):
        return f"{condition.field}:{','.join(_spelt(value) for value in condition.values)}"
    return f"{condition.field}{condition.operator}{_figure(condition.number)}"


def _spelt(text: str) -> str:
    if text != "all" and _BARE.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _figure(number: float) -> str:
    # Never in the form 1e-07: that cannot be typed.
    return str(int(number)) if number == int(number) else f"{number:.17f}".rstrip("0")


Value = str | float | bool | None | Sequence[str]


def holds(query: Query, values: Mapping[str, Value], *texts: str) -> bool:
    """Whether the query holds of something with these values; words are looked for in ``texts``.

    A value may be a list, of which any one will do. A number that is None stands in no relation to any.
    """
    folded = [text.casefold() for text in texts]
    return all(_holds(term.condition, values, folded) != term.negated for term in query.terms)


def _holds(condition: Condition, values: Mapping[str, Value], folded: Sequence[str]) -> bool:
    if isinstance(condition, Words):
        return any(condition.text.casefold() in text for text in folded)
    value = values.get(condition.field)
    if isinstance(condition, Compare):
        if not isinstance(value, int | float) or math.isnan(value):
            return False
        return COMPARE[condition.operator](value, condition.number)
    if value is None:
        return False
    if isinstance(value, bool):
        found: Sequence[str] = ("yes" if value else "no",)
    else:
        found = value if isinstance(value, Sequence) and not isinstance(value, str) else (str(value),)
    wanted = {wanted.casefold() for wanted in condition.values}
    return any(one.casefold() in wanted for one in found)
