"""Text from tokens as they come: whole characters only, ended at the first stop string or second field of an item."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_CONTEXT = 6  # prompt tokens decoded along, so that the first token keeps its leading space
_UNFINISHED = "\ufffd"  # how a decoder shows bytes that are not (yet) a character
_PATIENCE = 8  # tokens; a character has at most 4 bytes, more waiting means the bytes are no text


class StreamText:
    """The text of one completion. ``push`` tokens, read ``text``; ``finish`` gives what is left at the end.

    ``stop`` and ``once`` as in ``SamplingParams``.
    """

    def __init__(
        self,
        decode: Callable[[list[int]], str],
        prompt: Sequence[int],
        stop: Sequence[str],
        once: Sequence[str] = (),
    ) -> None:
        self.text = ""
        self.stopped = False
        self.stopped_by: str | None = None
        self._decode = decode
        self._stop = tuple(stop)
        self._once = tuple(once)
        self._longest = max(map(len, (*stop, *once)), default=0)
        self._had = False  # the field that this item has once
        self._beyond = 0  # where the last of ``once`` ends
        self._ids = list(prompt[-_CONTEXT:])
        self._start = 0  # decoding begins here: tokens before it can no longer change the text
        self._read = len(self._ids)  # tokens before it are in the text

    def push(self, token: int) -> bool:
        """Takes the next token; returns whether a stop string has ended the text."""
        self._ids.append(token)
        before = self._decode(self._ids[self._start : self._read])
        after = self._decode(self._ids[self._start :])
        waiting = len(self._ids) - self._read
        if after.endswith(_UNFINISHED) and waiting < _PATIENCE:
            return False
        self._append(after[len(before) :])
        self._start, self._read = self._read, len(self._ids)
        return self.stopped

    def finish(self) -> str:
        """The final text; bytes that never became a character are dropped."""
        if not self.stopped and self._read < len(self._ids):
            before = self._decode(self._ids[self._start : self._read])
            after = self._decode(self._ids[self._start :])
            self._append(after[len(before) :].rstrip(_UNFINISHED))
            self._read = len(self._ids)
        return self.text

    def _append(self, piece: str) -> None:
        # A stop string may have begun in earlier tokens, but not end there.
        begin = max(0, len(self.text) - self._longest + 1)
        self.text += piece
        hits = [(hit, word) for word in self._stop if (hit := self.text.find(word, begin)) >= 0]
        again = self._field_again(begin)
        if again is not None:
            hits.append((again, self._once[0]))
        if hits:
            # Of two that begin at one place the longer one says more: "\n16" is a line's begin, "16" is not.
            hit, self.stopped_by = min(hits, key=lambda found: (found[0], -len(found[1])))
            self.text = self.text[:hit]
            self.stopped = True

    def _field_again(self, begin: int) -> int | None:
        """Where the field begins a second time, of what ends behind ``begin``."""
        while True:
            begin = max(begin, self._beyond)
            found = [(hit, word) for word in self._once if (hit := self.text.find(word, begin)) >= 0]
            if not found:
                return None
            hit, word = min(found)
            if word != self._once[0]:
                self._had = False
            elif self._had:
                return hit
            else:
                self._had = True
            self._beyond = hit + len(word)
