"""Data sets as Parquet, the columnar format that Hugging Face's data sets are stored in."""

from __future__ import annotations

import io
from collections.abc import Sequence

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.core.exchange import Record

COLUMNS = ("split", "instruction", "input", "output")


def dump_parquet(records: Sequence[Record]) -> bytes:
    """One row a record, in order, with the string columns split, instruction, input and output.

    Raises AlpacaError where pyarrow, which is an extra of its own for its 150 MB, is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise AlpacaError(
            "writing Parquet needs pyarrow, which is not installed; add it with: pip install 'alpaca-tui[parquet]'"
        ) from error
    columns = [pyarrow.array([record[i] for record in records], pyarrow.string()) for i in range(len(COLUMNS))]
    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_arrays(columns, names=list(COLUMNS)), sink)
    return sink.getvalue()
