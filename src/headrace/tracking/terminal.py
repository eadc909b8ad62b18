"""What a terminal would show of printed text, as lines to keep.

Programs print for a screen: progress bars go back with a carriage return, several of them with *cursor
up*, colours are escape sequences. Here the text is played on a small screen that has rows and a cursor,
and a row is handed out once nobody will write on it again. So a bar leaves one line, its last state.

Columns count characters: wide ones (CJK, emoji) are taken as narrow, which is enough for what is
rewritten from the first column, as bars are. The sequences are those of ECMA-48.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from headrace.protocol.ingest import ConsoleLine

#: Characters after which a line is handed out although it has not ended.
MAX_LINE = 16_384
#: Characters of an unfinished line that are shown.
MAX_UNFINISHED = 2_000
#: Rows that may be waiting for a cursor that comes back.
_MAX_ROWS = 64
#: Milliseconds after which nobody comes back to a row above the cursor.
_SETTLED = 5_000
#: An escape sequence that goes on in the next write is kept up to this length.
_MAX_ESCAPE = 1_024

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_UNFINISHED_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)\Z")
_TOKEN = re.compile(
    r"(?P<text>[^\x00-\x08\x0a-\x1f\x7f]+)"
    r"|\x1b\[(?P<numbers>[0-?]*)[ -/]*(?P<command>[@-~])"
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # window titles, links: no text
    r"|\x1b[ -/]*[0-~]"
    r"|(?P<control>[\n\r\b])"
    r"|[\x00-\x1f\x7f]"
)
_DIGITS = re.compile(r"\d+")


@dataclass(slots=True)
class _Row:
    text: str = ""
    #: When something was written last, milliseconds since the Unix epoch.
    time: int = 0
    #: Something was written over: spaces at the end are what clears an older text.
    rewritten: bool = False


class Terminal:
    """The screen of one stream. Not for several threads at once."""

    def __init__(self) -> None:
        self._rows = [_Row()]
        self._at = 0  # the cursor's row
        self._column = 0
        self._depth = 0  # how far above the bottom the cursor was seen
        self._escape = ""

    def write(self, time: int, text: str) -> None:
        """Play text that was printed at ``time`` (milliseconds since the Unix epoch)."""
        if self._escape:
            text, self._escape = self._escape + text, ""
        if not _CONTROL.search(text):
            first, *others = text.split("\n")
            self._put(time, first)
            for line in others:
                self._down(time)
                self._put(time, line)
            return
        partial = _UNFINISHED_ESCAPE.search(text)
        if partial:
            if len(partial[0]) <= _MAX_ESCAPE:
                self._escape = partial[0]
            text = text[: partial.start()]
        for token in _TOKEN.finditer(text):
            if token["text"] is not None:
                self._put(time, token["text"])
            elif token["control"] == "\n":
                self._down(time)
            elif token["control"] == "\r":
                self._column = 0
            elif token["control"] == "\b":
                self._column = max(0, self._column - 1)
            elif token["command"] is not None:
                self._obey(time, token["command"], token["numbers"])

    def take(self, now: int) -> list[ConsoleLine]:
        """The lines that are settled since last time.

        Args:
            now: Milliseconds since the Unix epoch.
        """
        bottom = len(self._rows) - 1
        count = min(self._at, max(0, bottom - self._depth))
        while count < self._at and self._rows[count].time < now - _SETTLED:
            count += 1
        if count == self._at:
            self._depth = bottom - self._at
        count = max(count, len(self._rows) - _MAX_ROWS)
        return self._hand_out(count)

    def finish(self) -> list[ConsoleLine]:
        """All lines that are left, the unfinished one as well."""
        while len(self._rows) > 1 and not self._rows[-1].text:
            del self._rows[-1]
        if self._rows[-1].text:
            self._rows.append(_Row())
        lines = self._hand_out(len(self._rows) - 1)
        self.__init__()  # type: ignore[misc]
        return lines

    @property
    def unfinished(self) -> str:
        """The line that is being written: the cursor's, else the lowest that has text."""
        for row in (self._rows[self._at], *reversed(self._rows)):
            text = row.text.rstrip()
            if text:
                return _storable(text[:MAX_UNFINISHED])
        return ""

    def _put(self, time: int, text: str) -> None:
        row = self._rows[self._at]
        row.time = time
        while self._column + len(text) > MAX_LINE:
            room = max(0, MAX_LINE - self._column)
            self._write_row(row, text[:room])
            text = text[room:]
            self._down(time)
            row = self._rows[self._at]
            row.time = time
        self._write_row(row, text)

    def _write_row(self, row: _Row, text: str) -> None:
        start, end = self._column, self._column + len(text)
        if start == len(row.text):
            row.text += text
        elif text:
            row.text = row.text[:start].ljust(start) + text + row.text[end:]
            row.rewritten = True
        self._column = end

    def _down(self, time: int) -> None:
        self._rows[self._at].time = time
        self._at += 1
        self._column = 0
        if self._at == len(self._rows):
            self._rows.append(_Row(time=time))

    def _up(self, count: int) -> None:
        missing = count - self._at
        if missing > 0:
            # Rows that were handed out already: what is written there now is a line of its own.
            self._rows[:0] = [_Row(rewritten=True) for _ in range(missing)]
            self._at += missing
        self._at -= count
        self._depth = max(self._depth, len(self._rows) - 1 - self._at)

    def _obey(self, time: int, command: str, numbers: str) -> None:
        digits = _DIGITS.search(numbers)
        number = (
            min(int(digits[0][:6]), _MAX_ROWS if command in "ABEF" else MAX_LINE) if digits else 0
        )
        row = self._rows[self._at]
        match command:
            case "A" | "F":
                self._up(max(1, number))
                self._column = 0 if command == "F" else self._column
            case "B" | "E":
                self._at = min(self._at + max(1, number), len(self._rows) - 1)
                self._column = 0 if command == "E" else self._column
            case "C":
                self._column = min(self._column + max(1, number), MAX_LINE)
            case "D":
                self._column = max(0, self._column - max(1, number))
            case "G":
                self._column = max(0, number - 1)
            case "H" | "f":  # somewhere on a screen that we do not know: below what is there
                self._at = len(self._rows) - 1
                if self._rows[self._at].text:
                    self._down(time)
                self._column = 0
            case "K":
                if number == 0:
                    row.text = row.text[: self._column]
                else:
                    row.text = "" if number == 2 else row.text[self._column :].rjust(len(row.text))
                row.rewritten = True
            case "J" if number == 0:
                row.text = row.text[: self._column]
                for below in self._rows[self._at :]:
                    below.text = below.text if below is row else ""
                    below.rewritten = True
            case _:  # colours and the like
                pass

    def _hand_out(self, count: int) -> list[ConsoleLine]:
        if count <= 0:
            return []
        gone, self._rows = self._rows[:count], self._rows[count:]
        self._at = max(0, self._at - count)
        lines = []
        for row in gone:
            text = row.text.rstrip() if row.rewritten else row.text
            if text or not row.rewritten:  # an empty line is one, but not what is left of a bar
                lines.append(ConsoleLine(row.time, _storable(text)))
        return lines


def moves(text: str) -> bool:
    """Whether text goes back over what was printed, or otherwise is more than text."""
    return _CONTROL.search(text) is not None


def _storable(text: str) -> str:
    """Text without half characters (surrogates), which no store takes."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
