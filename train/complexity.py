"""Multiply-adds of the family, and of every published row: Table 5 of DeepLab v3+ and the zoo.

gmacs counts as TensorFlow 1 executed atrous convolutions, and so as the papers count: over maps
padded up to a multiple of the rate (`space_to_batch`). plain_gmacs counts what an engine of today
computes. Both in 1e9 multiply-adds for one image with all its scales and mirror images. The rule
is explained in train/multiply_adds.py; the counts come from hooks on the real modules.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engines.command import height_width, numbers, parser, run_command
from engines.failures import UsageError

if TYPE_CHECKING:
    from train.cost import Cost
    from train.published import Published


@dataclass(frozen=True)
class Options:
    """Either `table5`, or one network and how it is run."""

    table5: bool = False
    model: str | None = None
    size: tuple[int, int] = (513, 513)
    output_stride: int | None = None
    classes: int = 21
    no_decoder: bool = False
    dense: bool = False
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.table5 == (self.model is not None):
            raise UsageError("give either --table5 or --model NAME")
        own = {"table5", "json"}
        others = [field for field in dataclasses.fields(self) if field.name not in own]
        if self.table5 and any(getattr(self, field.name) != field.default for field in others):
            raise UsageError("--table5 knows its networks: only --json goes with it")
        if min(self.size) < 1 or self.classes < 1:
            raise UsageError("--size and --classes must be at least 1")
        if not all(0.25 <= scale <= 4 for scale in self.scales):
            raise UsageError("--scales must lie between 0.25 and 4")


@dataclass(frozen=True)
class Row:
    """A published number beside ours; `error_percent` is ours minus published."""

    row: int | str
    published_gmacs: float
    published_miou: float | None
    gmacs: float
    plain_gmacs: float
    error_percent: float
    model: str
    output_stride: int
    decoder: bool
    separable: bool
    scales: tuple[float, ...]
    flip: bool
    params: int
    source: str
    note: str


@dataclass(frozen=True)
class Tables:
    """Table 5 with its largest error; other published numbers, and which of them are missing."""

    rows: list[Row]
    max_error_percent: float
    zoo: list[Row]
    not_counted: str


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    p = parser(
        __doc__, "python train/complexity.py --model deeplabv3plus_mobilenetv2 --size 360x480"
    )
    p.set_defaults(**{field.name: field.default for field in dataclasses.fields(Options)})
    add = p.add_argument
    add("--table5", action="store_true", help="reproduce the published numbers")
    add("--model", metavar="NAME", help="an architecture, as train/models.py lists them")
    add("--size", type=height_width, metavar="HxW", help="of the input")
    add("--output-stride", type=int, metavar="N", help="8, 16 or 32 (default: the member's)")
    add("--classes", type=int, metavar="N", help="number of classes")
    add("--no-decoder", action="store_true", help="v3+ without its decoder")
    add("--dense", action="store_true", help="v3+ without separable convolutions in its head")
    add("--scales", type=numbers, metavar="S,S", help="count a pass at each: 0.75,1,1.25")
    add("--flip", action="store_true", help="count the mirrored image too")
    return Options(**vars(p.parse_args(argv)))


def run(options: Options) -> Tables | Cost:
    """Count what the options name."""
    from train.cost import Images, Strategy, cost
    from train.published import ELSEWHERE, NOT_COUNTED, TABLE5

    if options.model is not None:
        images = Images(options.size, options.classes)
        strategy = Strategy(options.scales, options.flip)
        return cost(architecture(options), options.output_stride, images, strategy)
    rows = [reproduce(published) for published in TABLE5]
    zoo = [reproduce(published) for published in ELSEWHERE]
    return Tables(rows, max(abs(row.error_percent) for row in rows), zoo, NOT_COUNTED)


def architecture(options: Options) -> str:
    """The model with the modifiers that have a flag of their own."""
    flags = {"no-decoder": options.no_decoder, "dense": options.dense}
    return ",".join((str(options.model), *(name for name, given in flags.items() if given)))


def reproduce(published: Published) -> Row:
    """Count what was published."""
    from train.cost import cost
    from train.family import Architecture

    ours = cost(
        published.architecture, published.output_stride, published.images, published.strategy
    )
    parsed = Architecture.parse(published.architecture)
    return Row(
        row=published.row,
        published_gmacs=published.gmacs,
        published_miou=published.miou,
        gmacs=ours.gmacs,
        plain_gmacs=ours.plain_gmacs,
        error_percent=100 * (ours.gmacs / published.gmacs - 1),
        model=ours.model,
        output_stride=ours.output_stride,
        decoder=parsed.has("decoder"),
        separable=parsed.has("separable"),
        scales=ours.scales,
        flip=ours.flip,
        params=ours.params,
        source=published.source,
        note=published.note,
    )


def show(result: Tables | Cost) -> None:
    """Print one network's cost, or both tables."""
    if not isinstance(result, Tables):
        show_cost(result)
        return
    show_rows("DeepLab v3+, table 5: Xception-65, VOC val", result.rows)
    print(f"largest error of the {len(result.rows)} rows: {result.max_error_percent:.2f} %\n")
    show_rows("Model zoo and other papers", result.zoo)
    for note in dict.fromkeys(row.note for row in result.zoo if row.note):
        print(note)
    print(result.not_counted)


def show_cost(cost: Cost) -> None:
    """One network: its cost as executed, and as the papers count."""
    height, width = cost.size
    print(f"{cost.model}: {height}x{width}, output stride {cost.output_stride}, {runs(cost)}")
    print(f"  parameters       {cost.params / 1e6:10.2f} M ({cost.classes} classes)")
    print(f"  multiply-adds    {cost.plain_gmacs:10.2f} G, as executed")
    print(f"                   {cost.gmacs:10.2f} G, as the papers count (space to batch)")


def show_rows(title: str, rows: list[Row]) -> None:
    """One line per published row; costs in 1e9 multiply-adds."""
    print(
        f"{title:46}{'OS':>3} {'decoder':8}{'SC':4}{'read':20}{'mIoU':>6}"
        f"{'published':>11}{'ours':>9}{'error':>9}{'plain':>9}"
    )
    for row in rows:
        miou = "-" if row.published_miou is None else f"{row.published_miou:.2f}"
        print(
            f"  {row.row:<44}{row.output_stride:>3} {yes(row.decoder):8}{yes(row.separable):4}"
            f"{runs(row):20}{miou:>6}{row.published_gmacs:11.2f}{row.gmacs:9.2f}"
            f"{row.error_percent:+8.2f}%{row.plain_gmacs:9.2f}"
        )


def yes(holds: bool) -> str:
    """A tick of the table."""
    return "yes" if holds else "-"


def runs(cost: Cost | Row) -> str:
    """The strategy in words."""
    scales = f"{len(cost.scales)} scales" if cost.scales != (1.0,) else "once"
    return f"{scales}, mirrored" if cost.flip else scales


def main(argv: list[str] | None = None) -> int:
    """Command line entry."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
