"""Imports of the layers below that wait until a command runs, so that the help of a group needs no ORM.

With them `dumacle users --help` took 0.73 s of CPU, six times as much as `dumacle --help`. All are done before the
command runs, because Python 3.11 cannot do them in two threads at once.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

_PACKAGE, _COMMANDS = "dumacle_cli.", "dumacle_cli.commands."


class _Finder(MetaPathFinder):
    """Finds our modules below the commands, to be executed when one of their names is first used."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module of ours; None for any other."""
        if not fullname.startswith(_PACKAGE) or fullname.startswith(_COMMANDS):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec and spec.loader:
            spec.loader = LazyLoader(spec.loader)
            self.names.append(fullname)
        return spec


_finder = _Finder()


@contextmanager
def imports() -> Iterator[None]:
    """Defer the imports of our modules below the commands."""
    sys.meta_path.insert(0, _finder)
    try:
        yield
    finally:
        sys.meta_path.remove(_finder)


def load() -> None:
    """Do the imports that were deferred."""
    while _finder.names:
        vars(sys.modules[_finder.names.pop(0)])
