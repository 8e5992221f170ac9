"""What a person gets who types a query: the meaning that was meant, or one clear sentence about the fault."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.query import JOBS, SAMPLES, SEEDS, Compare, Is, Query, QueryError, Term, Words, holds, parse


def test_a_query_of_every_kind() -> None:
    query = parse('status:pending rouge>0.6 len<40 -tag:math words "two words" margin>=-1.5 rule:novelty,length')
    assert [t.condition for t in query.terms] == [
        Is("status", ("pending",)),
        Compare("rouge", ">", 0.6),
        Compare("len", "<", 40),
        Is("tag", ("math",)),
        Words("words"),
        Words("two words"),
        Compare("margin", ">=", -1.5),
        Is("rule", ("novelty", "length")),
    ]
    assert [t.negated for t in query.terms] == [False, False, False, True, False, False, False, False]


@pytest.mark.parametrize("text", ["", "  ", "all", " all "])
def test_nothing_and_all_ask_nothing(text: str) -> None:
    assert parse(text) == Query()


def test_all_can_be_looked_for_in_quotation_marks() -> None:
    assert parse('"all"').terms == (Term(Words("all")),)
    assert parse("all pending").terms == (Term(Words("all")), Term(Words("pending")))


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("status:pendin", 7, "status cannot be 'pendin'; it can be pending, accepted"),
        ("a colour:red", 2, "there is no field 'colour'; there are status, rule"),
        ("rouge>high", 6, "rouge needs a number, such as rouge>0.6"),
        ("len", None, ""),
        ('a "b c', 2, "the quotation mark is not closed"),
        ("words -", 6, "a word is missing after the -"),
        ("status>pending", 6, "status takes no >; write status:pending|accepted"),
        ("tag!=math", 3, "write -tag:TEXT for the contrary"),
        ("tag:", 4, "a value is missing: tag:TEXT"),
        ("len<40x", 6, "a blank is missing between two terms"),
        ('""', 0, "there is nothing between the quotation marks"),
    ],
)
def test_a_fault_is_named_with_its_place(text: str, position: int | None, said: str) -> None:
    if position is None:
        assert parse(text).terms == (Term(Words(text)),)
        return
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert caught.value.position == position
    assert said in str(caught.value) and f"character {position + 1}:" in str(caught.value)
    assert isinstance(caught.value, UsageError)


def test_each_screen_has_its_own_fields() -> None:
    assert parse("status:failed", JOBS).values("status") == ("failed",)
    assert parse("status:off instances>1", SEEDS).values("status") == ("off",)
    with pytest.raises(QueryError, match="there is no field 'rouge'; there are status, kind, id"):
        parse("rouge>0.5", JOBS)


@given(st.text(max_size=60) | st.text(st.sampled_from('ab -:"<>=!,\\.0719statusleng '), max_size=40))
def test_whatever_is_typed_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        query = parse(text)
    except QueryError as error:
        assert 0 <= error.position <= len(text)
        assert str(error).startswith("cannot read the query at character")
    else:
        assert parse(str(query)) == query


WORD = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=12).filter(lambda t: bool(t.strip()))
NUMBER = st.integers(-10_000, 10_000).map(float) | st.floats(-100, 100).map(lambda x: round(x, 6))


def conditions() -> st.SearchStrategy[Words | Is | Compare]:
    choices = [(name, field) for name, field in SAMPLES.items() if field.choices]
    return st.one_of(
        WORD.map(Words),
        st.sampled_from(choices).flatmap(
            lambda one: st.lists(st.sampled_from(one[1].choices), min_size=1, max_size=3).map(
                lambda values: Is(one[0], tuple(values))
            )
        ),
        st.tuples(
            st.sampled_from(["rule", "tag", "seed", "model", "reason"]), st.lists(WORD, min_size=1, max_size=2)
        ).map(lambda pair: Is(pair[0], tuple(pair[1]))),
        st.builds(
            Compare,
            st.sampled_from([name for name, field in SAMPLES.items() if field.number]),
            st.sampled_from(["<", "<=", ">", ">=", "=", "!="]),
            NUMBER,
        ),
    )


@given(st.lists(st.builds(Term, conditions(), st.booleans()), max_size=5))
def test_what_is_written_out_reads_the_same(terms: list[Term]) -> None:
    query = Query(tuple(terms))
    assert parse(str(query)) == query


def test_one_term_can_be_replaced() -> None:
    query = parse("status:pending len<5 fox")
    assert str(query.replaced("status", "accepted")) == "status:accepted len<5 fox"
    assert str(query.replaced("status", None)) == "len<5 fox"


def test_a_query_on_plain_values() -> None:
    values = {"status": "failed", "id": 7.0, "edited": True, "tag": ["Math", "hard"], "margin": None}
    assert holds(parse("status:failed", JOBS), values)
    assert holds(parse('id=7 edited:yes tag:math "GRÜN see"'), values, "ein grün SEE")
    assert not holds(parse("-tag:hard"), values)
    assert not holds(parse("margin>0"), values) and holds(parse("-margin>0"), values)
