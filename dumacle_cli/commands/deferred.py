"""Imports of the layers below that wait until one of a module's names is used.

So the help of a group needs no ORM, and a command needs only what it uses of all that its group imports: to import all
at once took 0.73 s of CPU for `dumacle users --help`, and 0.1 s more than needed for `dumacle files upload`.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_PACKAGE, _COMMANDS = "dumacle_cli.", "dumacle_cli.commands."


class _Deferred(ModuleType):
    """Stands for a module: its names are those of the module, which is imported once one of them is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # The import system asks for these.
            raise AttributeError(name)
        with _at_once():
            module = import_module(self.__name__)
        return getattr(module, name)


class _Finder(MetaPathFinder, Loader):
    """Finds something that stands for our modules below the commands."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Find a module of ours; None for any other, and for a package, which has only names of modules."""
        if not fullname.startswith(_PACKAGE) or fullname.startswith(_COMMANDS):
            return None
        found = PathFinder.find_spec(fullname, path, target)
        return ModuleSpec(fullname, self) if found and found.submodule_search_locations is None else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Make what stands for the module."""
        _made.append(spec.name)
        return _Deferred(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Execute nothing yet."""


_finder = _Finder()
_made: list[str] = []
"""The names of modules that something stands for."""


@contextmanager
def imports() -> Iterator[None]:
    """Defer the imports of our modules below the commands."""
    sys.meta_path.insert(0, _finder)
    try:
        yield
    finally:
        sys.meta_path.remove(_finder)
        _forget()


@contextmanager
def _at_once() -> Iterator[None]:
    """Import modules themselves, also while imports are deferred."""
    _forget()
    deferring = _finder in sys.meta_path
    if deferring:
        sys.meta_path.remove(_finder)
    try:
        yield
    finally:
        if deferring:
            sys.meta_path.insert(0, _finder)


def _forget() -> None:
    """Let nobody else find what stands for a module."""
    while _made:
        name = _made.pop()
        if not isinstance(sys.modules.get(name), _Deferred):
            continue
        del sys.modules[name]
        parent, _, own = name.rpartition(".")
        if isinstance(vars(sys.modules[parent]).get(own) if parent in sys.modules else None, _Deferred):
            delattr(sys.modules[parent], own)
