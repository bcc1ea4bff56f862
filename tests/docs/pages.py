"""The pages that readers see, and what stands in their blocks."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("[a-z]*/README.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("train/weights/*.md"),
    ]
)


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def typed_lines(page: Path) -> list[str]:
    """What a reader types: the lines of all ```sh blocks, continued ones joined."""
    text = "\n".join(re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))
    lines = text.replace("\\\n", " ").splitlines()
    return [re.sub(r" +", " ", line.partition(" #")[0].strip()) for line in lines if line.strip()]


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def invoked(command: str) -> list[str]:
    """The script's path below ROOT and its flags: `python SCRIPT ...`, `python -m MODULE ...`."""
    _, script, *flags = shlex.split(command)
    if script == "-m":
        script, flags = f"{flags[0].replace('.', '/')}.py", flags[1:]
    return [script, *flags]


def is_script(line: str) -> bool:
    return re.match(r"python (-m )?\w", line) is not None
