"""Our dense CRF against pydensecrf: same frames, same logits, same labels, one run.

Timed is from logits to labels. Ours start at a network's stride-4 logits and upsample them within
that time; pydensecrf starts at full-resolution logits and gets the upsampling for nothing. On both
sides the time holds softmax and unary, the frame's lattices, all iterations and the argmax. Ours
keeps its buffers and the smoothness lattice from frame to frame; pydensecrf's interface has no way
to. The contenders take turns as in benchmarks/engines.py; times are medians over all frames and
repetitions. pydensecrf has one thread, so all rows of a setting share its time.

Logits are the bundle's FP32 graph's. For other sizes than the model's they are resized; a street is
drawn at the wanted size, other frames are stretched to it. Classes that the model does not have are
repetitions of its own, mirrored and lowered so that they win on few pixels (4 to 8 %).

`kept` is the share of the pixels that pydensecrf changes on which ours gives its label. `bound` is
what streaming an iteration's arrays takes at the machine's memory bandwidth (crf_traffic.py).
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder comes first on the path and would hide the room `crf`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crf.dense_crf import MILD, MODES
from engines.command import counts, names, parser, run_command
from engines.failures import UsageError
from engines.spec import CrfParams

if TYPE_CHECKING:
    from benchmarks.crf_row import Row

PACKAGES = ("numpy", "pydensecrf2")
MODEL = "model"  # the bundle's own setting
STOCK = {  # of pydensecrf's README, of DeepLab v1 and of DeepLab v2; five iterations each
    "80/13": CrfParams(10, 80, 13, 3, 3, iterations=5),
    "49/5": CrfParams(4, 49, 5, 3, 3, iterations=5),
    "67/3": CrfParams(4, 67, 3, 3, 1, iterations=5),
}


@dataclass(frozen=True)
class Options:
    """What to run, on how many threads, over which frames."""

    bundle: Path = Path("artifacts/camvid-mobilenetv2")
    data: tuple[str, ...] = ("street:",)
    split: str = "val"
    sizes: tuple[str, ...] = ("480x360x11", "640x480x21", "1280x720x21")
    settings: tuple[str, ...] = (*STOCK, MODEL)
    modes: tuple[str, ...] = MODES
    threads: tuple[int, ...] = (1, 2)
    frames: int = 4
    repeats: int = 2
    plot: Path | None = None
    json: Path | None = None

    def __post_init__(self) -> None:
        if min(self.frames, self.repeats, *self.threads) < 1:
            raise UsageError("--frames, --repeats and --threads must be at least 1")
        for setting in self.settings:
            if setting not in (*STOCK, MODEL):
                raise UsageError(
                    f"unknown CRF setting {setting!r}; known: {', '.join(STOCK)}, {MODEL}"
                )
        if self.plot is not None and self.plot.suffix not in (".png", ".svg"):
            raise UsageError(f"--plot: {self.plot} should end in .png or .svg")


@dataclass(frozen=True)
class Result:
    """All rows; `skipped` says what of ours did not run, and why."""

    results: list[Row]
    skipped: dict[str, str]
    machine: dict[str, str | int | float]


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    default = Options()
    p = parser(__doc__, "python benchmarks/crf.py --data camvid:DIR --data street: --plot crf.png")
    p.add_argument(
        "--bundle", type=Path, default=default.bundle, metavar="DIR", help="gives the logits"
    )
    p.add_argument(
        "--data", action="append", metavar="SPEC",
        help=f"frames; may be repeated (default: {' '.join(default.data)})",
    )  # fmt: skip
    p.add_argument("--split", default=default.split, metavar="NAME", help="of --data")
    for name, what in {"sizes": "WxHxC", "settings": "NAME", "modes": "NAME"}.items():
        values = getattr(default, name)
        p.add_argument(
            f"--{name}", type=names, default=values, metavar=f"{what},..",
            help=f"{name} to compare",
        )  # fmt: skip
    p.add_argument("--threads", type=counts, default=default.threads, metavar="N,N", help="of ours")
    p.add_argument("--frames", type=int, default=default.frames, metavar="N", help="of each size")
    p.add_argument(
        "--repeats", type=int, default=default.repeats, metavar="N", help="of each frame"
    )
    p.add_argument("--plot", type=Path, metavar="FILE", help="also draw bars (.png or .svg)")
    values = vars(p.parse_args(argv))
    values["data"] = tuple(values["data"] or default.data)
    return Options(**values)


def run(options: Options) -> Result:
    """Time all modes against pydensecrf: on all data, at all sizes, with all settings."""
    from benchmarks.crf_cases import Size, load_cases
    from benchmarks.crf_contenders import require_pydensecrf
    from benchmarks.crf_plot import draw, require_matplotlib
    from benchmarks.crf_round import Round, bandwidths
    from engines.bundle import Bundle
    from engines.machine import describe_machine

    machine = describe_machine(*PACKAGES)  # before measuring, so that the load is others'
    require_pydensecrf()
    if options.plot is not None:
        require_matplotlib()
    bundle = Bundle.open(options.bundle)
    known = {**STOCK, MODEL: bundle.spec.crf or MILD}
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    for data, size in itertools.product(options.data, map(Size.of, options.sizes)):
        cases = load_cases(bundle, data, options.split, size, options.frames)
        for setting in options.settings:
            this = Round(data, size, setting, known[setting], options.repeats, cases)
            more, lacking = this.run(options.modes, options.threads)
            rows += more
            skipped |= lacking
    if options.plot is not None:
        draw(rows, options.plot)
    machine |= bandwidths(rows)
    return Result(rows, skipped, machine)


def show(result: Result) -> None:
    """Print one line per row, and what was skipped."""
    print(", ".join(f"{key} {value}" for key, value in result.machine.items()))
    heading = None
    for row in result.results:
        s = row.settings
        if heading != (heading := f"{s['data']} {s['size']}, {s['classes']} classes"):
            print(f"{heading}: ms a frame, medians of {s['repeats']} times {s['frames']} frames")
            print(
                f"{'CRF':7}{'mode':11}{'threads':>7}{'ours':>8}{'peer':>8}{'faster':>8}{'same':>9}"
                f"{'kept':>7}{'max dQ':>9}{'build':>8}{'iter':>7}{'bound':>7}{'MB':>6}"
            )
        print(line(row))
    for name, reason in result.skipped.items():
        print(f"{name} skipped: {reason}")
    load, cores = result.machine["load"], result.machine["cores"]
    if float(load) > float(cores):
        print(f"WARNING: load {load} on {cores} cores: others are computing too; quote no number")


def line(row: Row) -> str:
    """One row of the printed table; "-" for what does not apply."""
    kept = "-" if row.changes_kept is None else f"{row.changes_kept:.1%}"
    bound = row.traffic.bound_ms if row.traffic else None
    return (
        f"{row.settings['setting']:7}{row.name:11}{row.threads:7}{row.ours_ms:8.1f}"
        f"{row.peer_ms:8.1f}{row.ratio:7.2f}x{row.agreement:9.3%}{kept:>7}"
        f"{row.max_marginal_error:9.1e}{number(row.split.build_ms, 1):>8}"
        f"{number(row.split.iteration_ms, 2):>7}{number(bound, 2):>7}{number(row.peak_mb, 0):>6}"
    )


def number(value: float | None, digits: int) -> str:
    """A number, or "-" where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def main(argv: list[str] | None = None) -> int:
    """Command line entry point; returns the exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
