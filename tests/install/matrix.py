"""Install every extra into a fresh environment of every Python, and run its commands there.

From a clean export of HEAD: an sdist, a wheel of it per Python, one environment at a time, deleted
after its trial. What was measured goes into docs/benchmarks/install.json, row by row, and as a
table into docs/install.md. An hour and a half for all on two cores; `--python` and `--extras` take
a part, and other rows stay. Exit code 3 if something did not install or run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engines.atomic import write_text
from engines.command import as_json, parser, run_command
from engines.failures import DeviceMissing, GateFailed, UsageError
from engines.machine import describe_machine
from tests.install.cells import ROOT, Cell, cells, commands
from tests.install.fresh_venv import Done, FreshVenv, fresh_venv
from tests.install.table import with_table

VERSIONS = ("3.10", "3.11", "3.12", "3.13")
SOURCE = "source"  # the folder of the clean export
POLITE = 10  # niceness: pip unpacks 5 GB at a time


@dataclass(frozen=True)
class Options:
    """Which part of the matrix, and where its results are kept."""

    python: tuple[str, ...] = VERSIONS
    extras: tuple[str, ...] = ()
    lowest: bool = False
    archives: Path | None = None
    bundle: Path = ROOT / "artifacts" / "camvid-mobilenetv2"
    docs: Path = ROOT / "docs"
    json: Path | None = None

    def __post_init__(self) -> None:
        known = [cell.name for cell in cells()]
        for name in self.extras:
            if name not in known:
                raise UsageError(f"--extras {name}: known are {' '.join(known)}")

    @property
    def cells(self) -> list[Cell]:
        """The sets of extras to install."""
        return [cell for cell in cells() if not self.extras or cell.name in self.extras]


@dataclass(frozen=True)
class Row:
    """One environment: what was installed, and what ran in it."""

    python: str  # 3.12.1
    extras: str
    bounds: str  # newest versions, or the lowest that pyproject.toml allows
    installed: bool
    said: str  # pip's last line, if it failed
    megabytes: int
    seconds: float  # of pip, packages downloaded before
    conflicts: str  # what `pip check` said, if anything
    versions: dict[str, str]
    helps: int  # commands that answered `--help`
    ran: list[Done]

    @property
    def passed(self) -> bool:
        """Installed without conflicts, and everything ran."""
        return self.installed and not self.conflicts and all(done.code == 0 for done in self.ran)


@dataclass(frozen=True)
class Result:
    """What this call measured."""

    rows: list[Row]
    archive_bytes: dict[str, int]
    page: Path

    @property
    def exit_code(self) -> int:
        """0, or 3 where something failed."""
        return 0 if all(row.passed for row in self.rows) else GateFailed.exit_code


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    default = Options()
    p = parser(__doc__, "python tests/install/matrix.py --python 3.12 --extras base serve")
    p.add_argument("--python", nargs="+", default=default.python, help="versions or interpreters")
    p.add_argument("--extras", nargs="+", default=(), help="base, serve, serve,openvino, ...")
    p.add_argument("--lowest", action="store_true", help="take the lower bounds of pyproject.toml")
    p.add_argument(
        "--archives", type=Path, metavar="DIR",
        help="keep sdist and wheels here; those that are here already are not built again",
    )  # fmt: skip
    p.add_argument("--bundle", type=Path, default=default.bundle, metavar="DIR")
    p.add_argument("--docs", type=Path, default=default.docs, metavar="DIR")
    values = vars(p.parse_args(argv))
    return Options(**{**values, **{name: tuple(values[name]) for name in ("python", "extras")}})


def run(options: Options) -> Result:
    """Try every cell on every Python."""
    os.nice(POLITE)
    pythons = [interpreter(name) for name in options.python]
    if not (options.bundle / "manifest.json").is_file():
        raise UsageError(f"no bundle at {options.bundle}: make demo builds one")
    page = options.docs / "install.md"
    rows: list[Row] = []
    with TemporaryDirectory(prefix="deeplab-archives-") as name:
        sdist = make_sdist(options.archives or Path(name))
        sizes = {"sdist": sdist.stat().st_size}
        for python in pythons:
            wheel = make_wheel(python, sdist)
            sizes["wheel"] = wheel.stat().st_size
            for cell in options.cells:
                helps = commands(sdist.parent / SOURCE) if cell.helps else []
                rows.append(try_cell(python, wheel, cell, helps, options))
                print(describe(rows[-1]), flush=True)
                keep(rows[-1], sizes, options.docs)
    return Result(rows, sizes, page)


def interpreter(name: str) -> Path:
    """The Python of a version such as 3.12, or the one at a path."""
    if not re.fullmatch(r"3\.\d+", name):
        return Path(name)
    found = shutil.which(f"python{name}")
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{name}.*/bin/python"))
    if found is None and not pyenv:
        raise DeviceMissing(f"no python{name} here: install it, or leave it out with --python")
    return pyenv[-1] if pyenv else Path(str(found))


def make_sdist(folder: Path) -> Path:
    """An sdist of HEAD: nothing that is only in the working tree is in it."""
    source = folder / SOURCE
    if not source.is_dir():
        source.mkdir(parents=True)
        line = ["git", "archive", "HEAD"]
        archive = subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
        subprocess.run(["tar", "-x"], cwd=source, input=archive, check=True)
        script = f"from scikit_build_core.build import build_sdist; build_sdist({str(folder)!r})"
        line = [sys.executable, "-c", script]
        subprocess.run(line, cwd=source, stdout=subprocess.DEVNULL, check=True)
    (sdist,) = folder.glob("*.tar.gz")
    return sdist


def make_wheel(python: Path, sdist: Path) -> Path:
    """The sdist compiled for a Python, in a build environment of its own."""
    line = [str(python), "-c", "import sys; print('cp%d%d' % sys.version_info[:2])"]
    tag = subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
    if not list(sdist.parent.glob(f"*-{tag}-*.whl")):
        with fresh_venv(python) as venv:
            done = venv.pip("wheel", "-q", "--no-deps", "-w", str(sdist.parent), str(sdist))
        if done.code != 0:
            raise GateFailed(f"no wheel for {python}: {done.said}")
    (wheel,) = sdist.parent.glob(f"*-{tag}-*.whl")
    return wheel


def try_cell(python: Path, wheel: Path, cell: Cell, helps: list[str], options: Options) -> Row:
    """Install a set of extras into a fresh environment and run what it is for."""
    extras = f"[{cell.name}]" if cell.extras else ""
    with fresh_venv(python) as venv:
        bounds = ["-c", str(lowest_bounds(wheel.parent))] if options.lowest else []
        installing = venv.pip("install", "-q", *bounds, f"{wheel}{extras}")
        checking = venv.pip("check")
        version = python_version(venv)
        ran: list[Done] = []
        if installing.code == 0:
            ran = run_all(venv, helps, cell.runs_on(_numbers(version)), options.bundle)
        helped = [done for done in ran if done.command.endswith("--help")]
        return Row(
            python=version,
            extras=cell.name,
            bounds="lowest" if options.lowest else "newest",
            installed=installing.code == 0,
            said=installing.said,
            megabytes=venv.megabytes,
            seconds=installing.seconds,
            conflicts=checking.said,
            versions=venv.versions(),
            helps=sum(done.code == 0 for done in helped),
            ran=[done for done in ran if done not in helped or done.code != 0],
        )


def run_all(venv: FreshVenv, helps: Sequence[str], runs: Sequence[str], bundle: Path) -> list[Done]:
    """`--help` of commands, then commands, beside a copy of the bundle."""
    lines = [f"-m {module} --help" for module in helps]
    lines += [run.replace("{bundle}", "bundle") for run in runs]
    shutil.copytree(bundle, venv.work / "bundle", symlinks=True)
    return [venv.run(*shlex.split(line)) for line in lines]


def _numbers(version: str) -> tuple[int, ...]:
    """3.12.1 as (3, 12, 1)."""
    return tuple(int(part) for part in version.split("."))


def python_version(venv: FreshVenv) -> str:
    """Such as 3.12.1."""
    line = [str(venv.python), "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()


def lowest_bounds(folder: Path) -> Path:
    """pyproject.toml's `name>=version` as pip's constraints `name==version`."""
    text = (ROOT / "pyproject.toml").read_text().partition("dependencies = [")[2]
    bounds = re.findall(r"\"([\w-]+)(?:\[\w+\])?>=([\d.]+)", text.partition("\n[tool")[0])
    file = folder / "lowest.txt"
    file.write_text("".join(f"{name}=={version}\n" for name, version in dict(bounds).items()))
    return file


def keep(row: Row, sizes: dict[str, int], docs: Path) -> None:
    """Put a row in the place of the older one of its kind, and the table into the guide."""
    file = docs / "benchmarks" / "install.json"
    old: list[dict[str, Any]] = json.loads(file.read_text())["rows"] if file.is_file() else []
    known = [cell.name for cell in cells()]  # sets that nobody installs any more are left out
    entries = [entry for entry in [*old, as_json(row)] if entry["extras"] in known]
    rows = {_key(entry, known): entry for entry in entries}
    kept = [rows[key] for key in sorted(rows)]
    content = {"machine": describe_machine(), "archive_bytes": sizes, "rows": kept}
    write_text(file, json.dumps(content, indent=1) + "\n")
    page = docs / "install.md"
    write_text(page, with_table(page.read_text(), kept))


def _key(row: dict[str, Any], known: Sequence[str]) -> tuple[Any, ...]:
    """A trial is the same on another patch release of a Python."""
    return row["bounds"] == "lowest", known.index(row["extras"]), _numbers(row["python"])[:2]


def describe(row: Row) -> str:
    """A row for people."""
    if not row.installed:
        return f"{row.python}  {row.extras}: did not install: {row.said}"
    failed = [f"  {done.command}: {done.said}" for done in row.ran if done.code != 0]
    head = f"{row.python}  {row.extras}: {row.megabytes} MB, {row.seconds:.0f} s, {row.helps} helps"
    return "\n".join([f"{head}, {len(row.ran)} commands {row.conflicts}".rstrip(), *failed])


def show(result: Result) -> None:
    """Print where the results are."""
    bad = [row for row in result.rows if not row.passed]
    print(f"{len(result.rows)} environments, {len(bad)} with a failure: {result.page}")


def main(argv: list[str] | None = None) -> int:
    """Command line entry."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
