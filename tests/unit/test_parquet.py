"""A data set as Parquet: every row comes back to the letter, and a missing pyarrow is one sentence."""

from __future__ import annotations

import io
import sys

import pytest
from pyarrow import parquet

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.core.parquet import dump_parquet

RECORDS = [
    ("train", "Name a fruit.", "", "A pear.\n\tOr a 梨 🍐."),
    ("held_out", "Quote it.", 'He said "no", then \\n.', "“no”"),
]


def test_rows_come_back_in_order_and_to_the_letter() -> None:
    table = parquet.read_table(io.BytesIO(dump_parquet(RECORDS)))
    assert table.column_names == ["split", "instruction", "input", "output"]
    assert [tuple(row.values()) for row in table.to_pylist()] == RECORDS
    assert parquet.read_table(io.BytesIO(dump_parquet([]))).num_rows == 0


def test_without_pyarrow_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(AlpacaError, match=r"pip install 'alpaca-tui\[parquet\]'"):
        dump_parquet(RECORDS)
