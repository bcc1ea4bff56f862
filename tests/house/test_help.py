"""`--help` of every command reads as if one person had written it."""

from __future__ import annotations

import argparse
import importlib
import re
from pathlib import Path
from typing import NoReturn

import pytest

from tests.house.test_arrows import ROOT, SCRIPTS

# One word for one kind of value, in all commands.
SAME = {"--json": "FILE", "--bundle": "DIR", "--data": "SPEC", "--split": "NAME", "--frames": "N"}


class Caught(Exception):
    """A parser that was about to read a command line."""


@pytest.fixture
def parser(script: Path, monkeypatch: pytest.MonkeyPatch) -> argparse.ArgumentParser:
    def catch(self: argparse.ArgumentParser, *_: object, **__: object) -> NoReturn:
        raise Caught(self)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", catch)
    module = importlib.import_module(".".join(script.relative_to(ROOT).with_suffix("").parts))
    with pytest.raises(Caught) as caught:
        module.parse(["--help"])
    (found,) = caught.value.args
    assert isinstance(found, argparse.ArgumentParser)
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_flag_is_told_in_the_same_way(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        name = "/".join(action.option_strings) or action.dest
        text = action.help or ""
        assert text, f"{name} says nothing"
        assert not text.endswith("."), f"{name}: a phrase, not a sentence"
        assert text[0] == text[0].lower() or text.split()[0].isupper(), f"{name}: {text}"
        assert "%(default)" not in text, f"{name}: the parser adds the default by itself"
        for flag, metavar in SAME.items():
            assert flag not in action.option_strings or action.metavar == metavar, name
        takes_value = action.nargs != 0 and not action.choices
        assert not takes_value or action.metavar, f"{name}: what does it take?"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_help_begins_with_one_sentence_and_ends_with_an_example(
    parser: argparse.ArgumentParser,
) -> None:
    first = (parser.description or "").split("\n\n")[0]
    assert re.fullmatch(r"\S.*[.?]", first.strip(), re.DOTALL), first
    assert (parser.epilog or "").startswith("example: python ")
