"""Inputs that are nearly right: bytes that were hit, JSON with something else in some places."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

DEEP = "[" * 100_000  # JSON that nests deeper than Python's parser goes
ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1,
    0.5,
    2**31,
    2**64,
    10**400,  # no float
    1e308,
    float("inf"),
    float("nan"),
    "",
    "0",
    "1e9",
    "²",  # a digit to str.isdigit, and no number to int
    "../../escaped",
    "/etc/passwd",
    "a\0b",
    "\ud800",  # half a character: text that cannot be encoded
    "$(touch escaped)",
    "%s%n{0}",
    "x" * 5000,
    [],
    [[]],
    [1],
    [1, "2", None],
    {},
    {"a": 1},
)
PIECES = st.one_of(
    st.binary(min_size=1, max_size=8),
    st.sampled_from([b"\0" * 8, b"\xff" * 8, b"\xff\xff\xff\xff\x0f", b"../", b"\n", b"NaN"]),
)
EDITS = ("flip", "replace", "insert", "cut", "double", "end")


def damaged(seed: bytes) -> SearchStrategy[bytes]:
    """The seed with a few bytes changed, put in, left out or repeated, or cut off."""
    places = st.integers(0, max(0, len(seed) - 1))
    edit = st.tuples(st.sampled_from(EDITS), places, PIECES, st.integers(1, 64))
    return st.lists(edit, min_size=1, max_size=5).map(lambda edits: _hit(seed, edits))


def _hit(data: bytes, edits: list[tuple[str, int, bytes, int]]) -> bytes:
    for kind, place, piece, length in edits:
        before, after = data[:place], data[place:]
        if kind == "flip":
            data = before + bytes(byte ^ piece[0] for byte in after[:1]) + after[1:]
        elif kind == "replace":
            data = before + piece + after[len(piece) :]
        elif kind == "insert":
            data = before + piece + after
        elif kind == "cut":
            data = before + after[length:]
        elif kind == "double":
            data = before + after[:length] + after
        else:
            data = before
    return data


def twisted(document: Any) -> SearchStrategy[Any]:
    """The JSON document with one to three of its values exchanged, left out, or renamed."""
    paths = list(_paths(document))
    change = st.tuples(st.sampled_from(paths), st.sampled_from(("put", "drop", "rename")), odd())
    changes = st.lists(change, min_size=1, max_size=3)
    return changes.map(lambda chosen: _twist(copy.deepcopy(document), chosen))


def odd() -> SearchStrategy[Any]:
    """A value that a careless reader does not expect, or any JSON value."""
    leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
    trees = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | _objects(inner), max_leaves=5
    )
    return st.one_of(st.sampled_from(ODD), st.sampled_from(ODD), trees)


def odd_text() -> SearchStrategy[str]:
    """A word that a careless reader does not expect."""
    return st.one_of(st.sampled_from([item for item in ODD if isinstance(item, str)]), st.text())


def as_text(document: Any) -> str:
    """JSON as Python's own parser reads it, NaN and Infinity included."""
    return json.dumps(document)


def _objects(inner: SearchStrategy[Any]) -> SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.text(max_size=4), inner, max_size=3)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a document; the document itself is ()."""
    yield path
    inner: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(value, dict):
        inner = iter(value.items())
    elif isinstance(value, list):
        inner = iter(enumerate(value[:4]))  # the rest of a list is like its beginning
    for key, item in inner:
        yield from _paths(item, (*path, key))


def _twist(document: Any, changes: list[tuple[tuple[Any, ...], str, Any]]) -> Any:
    for path, how, odd_one in changes:
        value = copy.deepcopy(odd_one)  # a later change may put something into it
        if not path:
            document = value if how == "put" else document
            continue
        place = document
        try:
            for key in path[:-1]:
                place = place[key]
            if how == "put":
                place[path[-1]] = value
            elif how == "drop":
                del place[path[-1]]
            elif isinstance(place, dict):
                place[str(value)[:50]] = place.pop(path[-1])
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took this place away
    return document
