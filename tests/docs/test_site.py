"""The built pages: diagrams as drawn, an API of modules that exist, no broken reference."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.site.diagrams import DIAGRAMS
from tests.docs.pages import ROOT


@pytest.mark.parametrize("name", DIAGRAMS)
def test_diagrams_are_those_that_the_script_draws(name: str) -> None:
    assert (ROOT / "docs/images" / name).read_text() == DIAGRAMS[name]()


def test_the_api_lists_modules_that_exist() -> None:
    pages = sorted((ROOT / "docs/api").glob("[a-z]*.md"))
    modules = [m for page in pages for m in re.findall(r"automodule:: (\S+)", page.read_text())]
    assert modules
    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), module


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="the extra [docs] is not installed")
    line = ["-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-c", "docs/site", "."]
    done = subprocess.run(
        [sys.executable, *line, str(tmp_path / "pages"), "-d", str(tmp_path / "trees")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "pages/docs/api/engines.html").read_text()
    assert "engines.bundle.Bundle.open" in page
