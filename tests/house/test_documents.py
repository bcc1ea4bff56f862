"""The README and the guides: links lead somewhere, commands exist, and the slow suite runs them."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("train/weights/*.md")]
)
# A placeholder in capitals (DIR, FILE), a camera or a machine that a test does not have.
NOT_HERE = re.compile(r"\b[A-Z]{3,}\b|--camera \d|/dev/|torchrun|tensorrt\b")


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[str]:
    """The lines of all ```sh blocks, continuation lines joined."""
    text = "\n".join(re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL))
    lines = text.replace("\\\n", " ").splitlines()
    return [line.partition(" #")[0].strip() for line in lines if line.strip()]


def commands(page: Path) -> list[str]:
    return [line for line in blocks(page) if re.match(r"(\S*/)?python \w", line)]


def invoked(command: str) -> list[str]:
    """The script's path below ROOT and its flags: `python SCRIPT ...`, `python -m MODULE ...`."""
    _, script, *flags = shlex.split(command)
    if script == "-m":
        script, flags = f"{flags[0].replace('.', '/')}.py", flags[1:]
    return [script, *flags]


COMMANDS = [pytest.param(c, id=f"{page_id(p)}: {c}") for p in PAGES for c in commands(p)]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_to_files(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page}: {link}"


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood_by_their_scripts(command: str) -> None:
    script, *flags = invoked(command)
    assert (ROOT / script).is_file(), f"{script} does not exist"
    module = importlib.import_module(".".join(Path(script).with_suffix("").parts))
    module.parse(flags)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in blocks(page):
        if line.startswith("make "):
            target = line.split()[1]
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page}: {line}"


@pytest.mark.slow
def test_the_readmes_commands_run(tmp_path: Path) -> None:
    """In order, as a reader would type them, in a folder of their own."""
    ran = 0
    for command in commands(ROOT / "README.md"):
        if NOT_HERE.search(command):
            continue
        script, *flags = invoked(command)
        line = [sys.executable, str(ROOT / script), *flags]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        ran += 1
    assert ran >= 3
