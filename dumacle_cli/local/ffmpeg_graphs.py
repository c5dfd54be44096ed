"""FFmpeg's filter graphs and command lines, built and compiled by ffmpeg-python, of which this is the only importer.

The package is no longer maintained, and only builds graphs here: its `run` deadlocks on a full pipe, and its `probe`
opens media outside the sandbox. It escapes positional arguments of filters once too often, and merges filters on the
same stream with the same options, even if their names differ.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NewType, Protocol, Self

OutputFile = NewType("OutputFile", object)
"""A file that FFmpeg writes, and the streams in it."""
Option = str | int | Fraction | None
Options = Mapping[str, Option]
"""FFmpeg's options by their names without the dash; None for one that takes no value."""


class Stream(Protocol):
    """Pictures or sound: an input, one of its streams (`film["a:0"]`), or the output of a filter."""

    def __getitem__(self, specifier: str) -> Self:
        """Return the stream of an input that FFmpeg's specifier names."""

    def filter(self, name: str, /, **options: Option) -> Self:
        """Return the output of a filter on this stream."""


def read(path: Path, options: Options) -> Stream:
    """Return a media file as an input; any name is safe."""
    return _input(_file(path.absolute()), options)


def generate(source: str) -> Stream:
    """Return the output of one of FFmpeg's test sources, described in the syntax of its filters."""
    return _input(source, {"f": "lavfi"})


def split(stream: Stream, count: int) -> list[Stream]:
    """Return `count` copies of a stream, since each can be used only once."""
    import ffmpeg

    copies = ffmpeg.filter_multi_output(stream, "split")
    return [copies.stream(index) for index in range(count)]


def compare(one: Stream, other: Stream, name: str, **options: Option) -> Stream:
    """Return the output of a filter that compares two streams, of which the second is the reference."""
    import ffmpeg

    compared: Stream = ffmpeg.filter([one, other], name, **options)
    return compared


def write(name: str, streams: Sequence[Stream], options: Options) -> OutputFile:
    """Return an output of these streams; `name` is relative to the folder that FFmpeg runs in."""
    import ffmpeg

    return OutputFile(ffmpeg.output(*streams, _file(name), **options))


def command(program: Path, flags: Sequence[str], outputs: Sequence[OutputFile]) -> list[str]:
    """Return the program and its arguments; `flags` apply to the whole run."""
    import ffmpeg

    # FFmpeg expects them first, and the package's own `global_args` come last.
    line: list[str] = ffmpeg.compile(ffmpeg.merge_outputs(*outputs), cmd=[str(program), *flags])
    return line


def _input(name: str, options: Options) -> Stream:
    import ffmpeg

    stream: Stream = ffmpeg.input(name, **options)
    return stream


def _file(name: Path | str) -> str:
    # Otherwise a leading dash would make it an option, and a colon a protocol.
    return f"file:{name}"
