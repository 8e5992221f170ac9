"""``python -m alpaca_tui.jobs.runner --project DIR --job N``: detach from whoever started it, then run the job.

The starting process stays until the job is taken, and its exit code says whether it was (0) or not (1). The runner
itself goes on in a grandchild, in a session without a terminal.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_TAKEN = b"1"


def main(argv: Sequence[str] | None = None) -> int:
    """Detach and run the job. In the starting process it returns once the job is taken, in the runner at its end."""
    parser = argparse.ArgumentParser(prog="alpaca_tui.jobs.runner")
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--job", type=int, required=True)
    arguments = parser.parse_args(argv)
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        # End of file without the byte: the runner ended before it had the job.
        return 0 if os.read(reading, 1) == _TAKEN else 1
    os.close(reading)
    os.umask(0o077)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Imported only here: a fork is clean while no library has started threads of its own.
    from alpaca_tui.core.errors import AlpacaError
    from alpaca_tui.jobs.supervisor import run_job

    def taken() -> None:
        # The starter may have been killed meanwhile; the job doesn't need it.
        with suppress(OSError):
            os.write(writing, _TAKEN)
        os.close(writing)

    try:
        run_job(arguments.project, arguments.job, on_taken=taken)
    except AlpacaError as error:
        print(f"error: {error}", flush=True)
        return 1
    except Exception as error:
        traceback.print_exc()
        print(f"error: {type(error).__name__}: {error}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
