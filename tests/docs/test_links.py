"""Links of all pages lead to files that are there, and to headings that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, page_id
from tests.house.test_arrows import ALLOWED

FOLDERS = [*ALLOWED, "tests", "docs", "deploy"]
LINK = re.compile(r"\]\(<?([^)>\s]+)>?\)")


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them; equal ones are numbered."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    seen: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        count = seen.get(name, 0)
        seen[name] = count + 1
        names.add(f"{name}-{count}" if count else name)
    return names


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = page.parent / path if path else page
        assert target.exists(), f"{page_id(page)}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page_id(page)}: {link}"


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "CHANGELOG.md"], ids=page_id)
def test_files_that_are_named_exist(page: Path) -> None:
    """Files of the rooms, in `code`: a file that moves is still found by who reads about it."""
    for path in re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]+\.\w+)`", page.read_text()):
        assert (ROOT / path).exists(), f"{page_id(page)}: {path}"


def test_no_page_is_out_of_reach() -> None:
    """From the README every guide is found by following links."""
    found, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop().resolve()
        if page not in found:
            found.add(page)
            links = (link.partition("#")[0] for link in LINK.findall(page.read_text()))
            targets = [page.parent / link for link in links if link.endswith(".md")]
            ahead += [target for target in targets if "://" not in str(target)]
    assert {page_id(page) for page in PAGES} == {page_id(page) for page in found}
