"""Every sentence that a command may end with, read from the source."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from export.plans.explained import KNOWN

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("scenes", "engines", "crf", "train", "calibration", "export", "runtime")
EXIT_CODES = {
    "Failure": 1,
    "UsageError": 2,
    "GateFailed": 3,
    "DeviceMissing": 4,
    "SourceFailed": 5,
    "Refused": 6,
    "DatasetError": 6,
}
GAP = "…"  # stands for what differs


@dataclass(frozen=True)
class Message:
    """One sentence, where it is raised, and the exit code that goes with it."""

    text: str
    code: int
    file: str

    @property
    def room(self) -> str:
        """Whose message it is."""
        return self.file.partition("/")[0]


@cache
def trees() -> list[tuple[str, ast.Module]]:
    """All files of the rooms, parsed."""
    files = (path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")))
    return [(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())) for path in files]


def messages() -> list[Message]:
    """What stands behind each `raise`; sentences that are put together elsewhere are left out."""
    found = []
    for file, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                code = EXIT_CODES.get(getattr(node.exc.func, "id", ""))
                text = worded(node.exc.args[0])
                if code is not None and text.strip(GAP + ":; "):
                    found.append(Message(text, code, file))
    return found


def sentences() -> list[str]:
    """All texts of the source, f-strings with gaps."""
    return [
        worded(node)
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    ]


def worded(node: ast.expr) -> str:
    """A text as the user reads it."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(worded(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return worded(node.left) + worded(node.right)
    return GAP


def as_section() -> str:
    """All messages as Markdown, TensorRT's too, for the end of docs/troubleshooting.md."""
    lines = ["", "## Every message", "", "| exit code | message | from |", "|---|---|---|"]
    for message in sorted(messages(), key=lambda m: (m.code, m.file, m.text)):
        text = " ".join(message.text.split()).replace("|", "\\|").replace("`", "'")
        lines.append(f"| {message.code} | `{text}` | {message.file} |")
    lines += ["", "## TensorRT's own messages", ""]
    lines += ["| it says | cause | fix | told by |", "|---|---|---|---|"]
    for known in KNOWN:
        pattern = known.pattern.replace("|", "\\|")
        lines.append(f"| `{pattern}` | {known.cause} | {known.fix} | {known.source} |")
    return "\n".join([*lines, ""])
