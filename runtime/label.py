"""Label videos and images in bulk, on all cores, GPUs or machines: label maps and statistics.

What was finished before an interruption, of whatever kind, is not done again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engines.command import parser, run_command
from engines.failures import UsageError

if TYPE_CHECKING:
    from runtime.labelling.summary import Summary


@dataclass(frozen=True)
class Options:
    """What the user asked for; the one place of all defaults."""

    input: tuple[Path, ...]
    output: Path
    bundle: Path = Path("artifacts/camvid-mobilenetv2")
    precision: str = "auto"
    target: str = "auto"
    crf: str = "auto"
    address: str | None = None
    workers: int | None = None
    threads: int | None = None
    json: Path | None = None

    def __post_init__(self) -> None:
        for name, count in (("--workers", self.workers), ("--threads", self.threads)):
            if count is not None and count < 1:
                raise UsageError(f"{name} {count}: at least 1, or leave it out")


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    p = parser(__doc__, "python runtime/label.py --input clips --output labels")
    p.add_argument(
        "--input",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="videos, images, and folders to search for them",
    )
    p.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="where labels go; with an earlier run's, to go on where it ended (docs/labelling.md)",
    )
    p.add_argument("--bundle", type=Path, default=Options.bundle, metavar="DIR", help="the model")
    p.add_argument(
        "--precision",
        choices=("auto", "fp32", "fp16", "int8", "mixed"),
        default=Options.precision,
        help="auto: the fastest one within the accuracy report's gate",
    )
    p.add_argument(
        "--target",
        choices=("auto", "cpu", "openvino", "tensorrt", "tensorrt-rtx"),
        default=Options.target,
        help="what runs the model; auto is chosen for this machine",
    )
    p.add_argument(
        "--crf",
        choices=("auto", "off", "fast", "exact"),
        default=Options.crf,
        help="sharpen masks by a dense CRF; auto: if the model has parameters for it",
    )
    p.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="a Ray cluster's (auto: this machine's); without, a Ray of its own is started here",
    )
    p.add_argument(
        "--workers", type=int, metavar="N", help="engines (default: one for each core, or GPU)"
    )
    p.add_argument("--threads", type=int, metavar="N", help="of each engine on a CPU")
    values = vars(p.parse_args(argv))
    return Options(**{**values, "input": tuple(values["input"])})


def run(options: Options) -> Summary:
    """Label everything that is not yet labelled."""
    from engines.bundle import Bundle
    from runtime.labelling.cluster import check_installed, connected
    from runtime.labelling.inputs import find_inputs
    from runtime.labelling.model import choose_model
    from runtime.labelling.output import Output
    from runtime.labelling.summary import Summary
    from runtime.labelling.work import units_of

    inputs = find_inputs(options.input, options.output)
    bundle = Bundle.open(options.bundle)
    model, lines = choose_model(bundle, options.precision, options.target, options.crf)
    check_installed()
    output = Output(options.output.absolute())
    output.begin(model.settings(bundle))
    units = units_of(inputs, output)
    print(f"{inputs.describe()} -> {options.output}")
    print("\n".join(lines), flush=True)
    with connected(options.address, options.workers, options.threads, model.on_gpu) as fleet:
        summary = Summary(fleet.workers, fleet.threads, model, options.output)
        for report in fleet.label(units, model, output.root):
            summary.add(report)
    return summary


def show(summary: Summary) -> None:
    """Print the summary."""
    summary.show()


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
