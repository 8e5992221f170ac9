"""The labelled text that goes to the editor comes back as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.core.text import clean_text
from alpaca_tui.ui import editing

texts = st.text(max_size=120) | st.sampled_from(
    ["#: output", "#: instruction\nx", "\\#: input", "\n\n", "a\n", "#:", ""]
)
triple = st.tuples(texts.map(clean_text), texts.map(clean_text), texts.map(clean_text))


@given(triple)
def test_unchanged_text_comes_back_unchanged(original: tuple[str, str, str]) -> None:
    assert editing.parse(editing.dump(7, original), original) == original


@given(triple, triple)
def test_changed_text_comes_back_but_for_newlines_at_its_end(before, after) -> None:
    back = editing.parse(editing.dump(7, after), before)
    assert [t.rstrip("\n") for t in back] == [t.rstrip("\n") for t in after]


def test_a_broken_file_is_refused() -> None:
    for broken in ("", "#: instruction\nx\n", "#: instruction\n#: input\n#: output\n#: input\n"):
        with pytest.raises(AlpacaError, match="nothing was stored"):
            editing.parse(broken, ("a", "b", "c"))


def test_without_an_editor_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDITOR", raising=False)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(AlpacaError, match="edit here with i"):
        editing.editor()
    monkeypatch.setenv("EDITOR", "code --wait")
    assert editing.editor() == ["code", "--wait"]
