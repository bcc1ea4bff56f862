"""docs/install.md's table: one line per set of extras, one column per Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BEGIN, END = "<!-- made by tests/install/matrix.py -->\n", "<!-- end -->\n"


def with_table(page: str, rows: Sequence[dict[str, Any]]) -> str:
    """A page with the table of rows between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table(rows)}{END}{after}"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown, in their order."""
    pythons = sorted({_minor(row) for row in rows})
    lines = ["| extras | " + " | ".join(f"3.{minor}" for minor in pythons) + " |"]
    lines.append("|" + "---|" * (1 + len(pythons)))
    for name, bounds in dict.fromkeys((row["extras"], row["bounds"]) for row in rows):
        mine = {_minor(r): r for r in rows if (r["extras"], r["bounds"]) == (name, bounds)}
        label = f"{name}, lowest versions" if bounds == "lowest" else name
        told = [_cell(mine[minor]) if minor in mine else "" for minor in pythons]
        lines.append(f"| {label} | " + " | ".join(told) + " |")
    return "\n".join(lines) + "\n"


def _cell(row: dict[str, Any]) -> str:
    if not row["installed"]:
        return "does not install"
    failed = sum(done["code"] != 0 for done in row["ran"])
    trouble = f", **{failed} failed**" if failed else ", **conflicts**" if row["conflicts"] else ""
    return f"{row['megabytes']} MB, {row['seconds']:.0f} s{trouble}"


def _minor(row: dict[str, Any]) -> int:
    return int(row["python"].split(".")[1])
