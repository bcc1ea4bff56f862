"""Make docs/results.md and its plots from the measurements in docs/results/.

--measure --data camvid:DIR first measures what is missing there, or was measured on other weights
than those that ship: an interrupted measurement goes on where it stopped. With --heads DIR it also
trains the heads that the page compares, if DIR lacks them (an hour on two cores), and measures
them. Rows that were never measured are named on the page, not guessed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from engines.command import parser, run_command
from engines.failures import UsageError

if TYPE_CHECKING:
    from train.results_rows import Record, Row

DOCS = Path(__file__).resolve().parents[1] / "docs"


@dataclass(frozen=True)
class Options:
    """Flags of `python train/results.py`; contradictory ones raise `UsageError`."""

    measure: bool = False
    data: str | None = None
    split: str = "val"
    heads: Path | None = None
    rows: str = "*"
    every: int = 1
    threads: int = 0  # 0 = PyTorch's choice
    docs: Path = DOCS
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.measure and self.data is None:
            raise UsageError("--measure needs labelled frames: add --data camvid:DIR")
        if not self.measure and (self.data or self.heads):
            raise UsageError("--data and --heads tell what to measure: add --measure")
        if self.every < 1 or self.threads < 0:
            raise UsageError("--every must be at least 1, --threads not negative")


@dataclass(frozen=True)
class Result:
    """The page, how many rows it has, and which are missing or stale."""

    page: Path
    rows: int
    missing: list[str]
    stale: list[str]


def parse(argv: list[str] | None) -> Options:
    """Flags -> Options."""
    p = parser(__doc__, "python train/results.py --measure --data camvid:DIR")
    p.set_defaults(**{field.name: field.default for field in dataclasses.fields(Options)})
    add = p.add_argument
    add("--measure", action="store_true", help="measure what is missing or stale")
    add("--data", metavar="SPEC", help="labelled frames with the splits train and val")
    add("--split", metavar="NAME", help="to score")
    add("--heads", type=Path, metavar="DIR", help="train and measure the compared heads, too")
    add("--rows", metavar="GLOB", help="measure these files alone, e.g. 'v2-*'")
    add("--every", type=int, metavar="N", help="score every Nth frame")
    add("--threads", type=int, metavar="N", help="0: all cores")
    add("--docs", type=Path, metavar="DIR", help="where results.md and results/ are")
    return Options(**vars(p.parse_args(argv)))


def run(options: Options) -> Result:
    """Measure if asked to, then write the page and the plots."""
    from train.results_measure import sources, stale
    from train.results_rows import REFERENCE, ROWS, read_records

    if not options.docs.is_dir():
        raise UsageError(
            f"no folder {options.docs}: the page is a part of a checkout, not of an installed "
            "package; run this in a checkout, or name a folder with --docs DIR"
        )
    folder = options.docs / "results"
    if options.measure:
        measure(options, read_records(folder))
    known, records = sources(options.heads), read_records(folder)
    outdated = stale(records.values(), known)
    write(options.docs, records, outdated, known[REFERENCE].sha256)
    missing = [row.stem for row in ROWS if row not in records]
    page = options.docs / "results.md"
    return Result(page, len(records), missing, [row.stem for row in outdated])


def measure(options: Options, records: dict[Row, Record]) -> None:
    """Train what is to be trained, measure what is to be measured."""
    import torch

    from scenes.dataset import open_dataset
    from train.results_heads import train_missing
    from train.results_measure import measure_missing, sources
    from train.results_rows import ROWS

    assert options.data is not None
    if options.threads:
        torch.set_num_threads(options.threads)
    dataset = open_dataset(options.data, options.split)
    wanted = [row for row in ROWS if fnmatch(row.stem, options.rows)]
    if options.heads:
        models = {row.model for row in wanted}
        train_missing(options.heads, models, options.data, options.threads)
    about, folder = (without_folders(options.data), options.split), options.docs / "results"
    known = sources(options.heads)
    measure_missing(wanted, records, known, dataset, about, options.every, folder)


def without_folders(data: str) -> str:
    """`camvid:/home/me/camvid` -> `camvid:camvid`: where a folder lies is nobody's business."""
    kind, _, rest = data.partition(":")
    return f"{kind}:{rest.rstrip('/').rpartition('/')[2]}"


def write(docs: Path, records: dict[Row, Record], outdated: list[Row], bundled: str) -> None:
    """The page and the plots."""
    from engines.atomic import write_text
    from train.results_page import page
    from train.results_plot import draw_table5, draw_v2

    write_text(docs / "results.md", page(records, outdated, bundled))
    # The page marks rows of other weights; a curve through them would be of no model.
    fresh = {row: record for row, record in records.items() if row not in outdated}
    draw_table5(fresh, docs / "results" / "table5.png")
    draw_v2(fresh, docs / "results" / "v2.png")


def show(result: Result) -> None:
    """Where the page is, and what it lacks."""
    print(f"{result.page}: {result.rows} rows")
    if result.stale:
        print(f"measured on other weights: {', '.join(result.stale)}")
        print("next: python train/results.py --measure --data camvid:DIR")
    if result.missing:
        print(f"{len(result.missing)} rows are not measured: the page names them")


def main(argv: list[str] | None = None) -> int:
    """Command line entry."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
