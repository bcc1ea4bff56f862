"""A pytest plugin that spoils one module of ours before anybody imports it.

`MUTANT="engines.blend|old source|new source" python -m pytest -p tests.fuzz.mutant ...`
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

VARIABLE = "MUTANT"


class Spoiled(SourceFileLoader):
    """Loads a module's source with one piece of it exchanged, and keeps no bytecode."""

    def __init__(self, name: str, path: str, old: str, new: str) -> None:
        super().__init__(name, path)
        self._old, self._new = old, new

    def get_code(self, fullname: str) -> CodeType:
        """The spoiled module."""
        source = self.get_source(fullname)
        assert source is not None
        if source.count(self._old) != 1:
            sys.exit(f"{fullname} does not hold {self._old!r} once: write the mutant anew")
        return compile(source.replace(self._old, self._new), self.path, "exec")


class Finder:
    """Finds the one module to spoil."""

    def __init__(self, name: str, old: str, new: str) -> None:
        self._name, self._old, self._new = name, old, new

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's spec with a loader of ours; None of any other."""
        spec = PathFinder.find_spec(fullname, path) if fullname == self._name else None
        if spec is not None and spec.origin is not None:
            spec.loader = Spoiled(fullname, spec.origin, self._old, self._new)
        return spec


if VARIABLE in os.environ:
    sys.meta_path.insert(0, Finder(*os.environ[VARIABLE].split("|")))
