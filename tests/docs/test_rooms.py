"""Each room's README says what the arrows say."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT
from tests.house.test_arrows import ALLOWED, ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_a_rooms_readme_names_what_it_may_import(room: str) -> None:
    text = (ROOT / room / "README.md").read_text()
    (line,) = re.findall(r"^Imports: ([^.;]*)[.;]", text, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", line)) == ALLOWED[room]
    assert len(text.splitlines()) <= 16
