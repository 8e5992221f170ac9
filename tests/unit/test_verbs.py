"""Root verbs and objects of instructions, by the light heuristic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_tui.core.verbs import RootVerb, base_form, root_verb, singular


@pytest.mark.parametrize(
    ("instruction", "verb", "object"),
    [
        ("Rewrite the sentence in the past tense.", "rewrite", "sentence"),
        ("Please list three European capitals.", "list", "capital"),
        ("Kindly and briefly describe your town.", "describe", "town"),
        ("Given a text, find the longest word.", "find", "word"),
        ("In one paragraph, compare cats and dogs.", "compare", "cat"),
        ("You are given two numbers, and you need to add them.", "add", None),
        ("Task: translate this note into Polish.", "translate", "note"),
        ("I want you to act as a travel guide.", "act", None),
        ("Your job is to grade the essay.", "grade", "essay"),
        ("I have a train at six. When should I leave the house?", "leave", "house"),
        ("Can you give me a recipe for soup?", "give", "recipe"),
        ("How long does sunlight need to reach Neptune?", "need", None),
        ("Why does the last call return three tags?", "return", "tag"),
        ("What is the difference between a frog and a toad?", "be", None),
        ("What actually ended the war?", "end", "war"),
        ("Which team wins the cup?", "win", "cup"),
        ("Should garlic be planted in autumn?", "plant", None),
        ("Do not translate the names.", "translate", "name"),
        ("Don't translate the names.", "translate", "name"),
        ("Reword a proverb.", "reword", "proverb"),
        ("Defrobnicate the widgets.", "defrobnicate", "widget"),
        ("Pull out every claim that this advert makes.", "pull", "claim"),
        ("Mark one of these words.", "mark", "word"),
        ("Help me choose between the two.", "help", None),
        ("I'd like to send a short card. My aunt is ill.", "send", "card"),
        ("Answer Mr. Lee's letter.", "answer", "letter"),
    ],
)
def test_what_is_asked_for(instruction: str, verb: str, object: str | None) -> None:
    assert root_verb(instruction) == RootVerb(verb, object)


@pytest.mark.parametrize(
    "text", ["", "   ", "?", "12.", "The weather in the north was fine.", "请把这句话翻译成英文。", "`ls -l`"]
)
def test_nothing_is_asked_for(text: str) -> None:
    assert root_verb(text) is None


def test_forms_of_a_verb() -> None:
    assert {base_form(w) for w in ("mix", "mixes", "mixed", "mixing")} == {"mix"}
    assert {base_form(w) for w in ("stop", "stops", "stopped", "stopping")} == {"stop"}
    assert {base_form(w) for w in ("write", "writes", "written", "writing", "wrote")} == {"write"}
    assert {base_form(w) for w in ("carries", "carried", "carrying")} == {"carry"}
    assert base_form("table") is None


def test_plurals() -> None:
    plurals = ("stories", "boxes", "matches", "days", "headaches", "glass", "bias", "analysis", "bus")
    singulars = ["story", "box", "match", "day", "headache", "glass", "bias", "analysis", "bus"]
    assert [singular(w) for w in plurals] == singulars


PIECES = ("do", "what", "be", "given", "of", "to", "the", "a", "it", "'", ",", ":", "?", ".", "word", "ly", "s")


@given(st.text(max_size=80) | st.lists(st.sampled_from(PIECES)))
def test_any_text_is_read(text: str | list[str]) -> None:
    found = root_verb(text if isinstance(text, str) else " ".join(text))
    assert found is None or (found.verb and found.verb == found.verb.lower())
