"""The only way to standard output and standard error: control characters are escaped."""

import codecs
from collections.abc import Iterable
from typing import BinaryIO, Self, TextIO

from dumacle_cli.escapes import escape, safe


def _escaped(fault: UnicodeError) -> tuple[str, int]:
    if not isinstance(fault, UnicodeEncodeError):
        raise fault
    return "".join(map(escape, fault.object[fault.start : fault.end])), fault.end


codecs.register_error("escapes", _escaped)


class Outlet:
    """A standard stream that never fails for a character missing in its encoding.

    All control characters but the end of a line are escaped, unless it carries `data` past every terminal. With
    `ignore_errors` failures to write are ignored, too: there is nowhere left to report them.
    """

    def __init__(
        self, stream: TextIO, *, data: bool = False, ignore_errors: bool = False, unescaped: bool = False
    ) -> None:
        self._stream, self._ignore_errors = stream, ignore_errors
        self._as_it_is = unescaped or (data and not stream.isatty())

    @classmethod
    def of(cls, stream: TextIO | None, *, data: bool = False, ignore_errors: bool = False) -> Self | None:
        """Wrap a stream, if there is one that is open."""
        return cls(stream, data=data, ignore_errors=ignore_errors) if stream is not None and not stream.closed else None

    @property
    def unescaped(self) -> "Outlet":
        """The same stream for drawing: control sequences pass, so the caller escapes the text between them."""
        return Outlet(self._stream, ignore_errors=self._ignore_errors, unescaped=True)

    @property
    def encoding(self) -> str:
        """The encoding of the stream."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def closed(self) -> bool:
        """Whether the stream is closed."""
        return self._stream.closed

    @property
    def binary(self) -> BinaryIO | None:
        """The stream of bytes below, for the contents of files."""
        return getattr(self._stream, "buffer", None)

    def isatty(self) -> bool:
        """Return whether this is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor of the stream."""
        return self._stream.fileno()

    def utf8(self) -> None:
        """Write UTF-8 from now on, whatever the locale is."""
        if hasattr(self._stream, "reconfigure"):
            self._stream.reconfigure(encoding="utf-8")

    def write(self, text: str) -> int:
        """Write a text."""
        kept = text if self._as_it_is else safe(text, keep="\n")
        if not kept.isascii():
            kept = kept.encode(self.encoding, "escapes").decode(self.encoding)
        try:
            self._stream.write(kept)
        except (OSError, ValueError):
            if not self._ignore_errors:
                raise
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the stream."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            if not self._ignore_errors:
                raise
