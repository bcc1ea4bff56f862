"""List the DeepLab family: parameters, multiply-adds and receptive field of every member.

For 21 classes and one image of 513x513, as the papers count, at each member's own output stride.
Multiply-adds are those of the convolutions as an engine executes them (`train/complexity.py` also
gives the papers' own, larger count). The receptive field is the side in pixels of what one logit
sees through the convolutions; image pooling, which sees everything, is left out
(`train/receptive_field.py` has the rule). Nothing is computed: the networks have shapes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.command import parser, run_command

CLASSES = 21
SIZE = (513, 513)


@dataclass(frozen=True)
class Options:
    """The architectures to list; none means all members of the family."""

    architectures: tuple[str, ...] = ()
    json: Path | None = None


@dataclass(frozen=True)
class Model:
    """One member; `gmacs` in 1e9 multiply-adds, `receptive_field` in pixels."""

    name: str
    params: int
    gmacs: float
    receptive_field: int
    output_strides: tuple[int, ...]  # its own first
    modifiers: tuple[str, ...]  # what may follow its name


@dataclass(frozen=True)
class Listing:
    """What the command prints and writes."""

    models: list[Model]


def parse(argv: Sequence[str] | None) -> Options:
    """Read the command line."""
    p = parser(__doc__, "python train/models.py deeplabv3plus_xception65,dense")
    p.add_argument(
        "architectures",
        nargs="*",
        metavar="ARCHITECTURE",
        help="with modifiers or without (default: all)",
    )
    values = vars(p.parse_args(argv))
    return Options(tuple(values["architectures"]), values["json"])


def run(options: Options) -> Listing:
    """Count all, then list; an unknown name raises `UsageError` before anything is counted."""
    from train.family import ARCHITECTURES, Architecture

    parsed = [Architecture.parse(name) for name in options.architectures or ARCHITECTURES]
    return Listing([measured(str(architecture)) for architecture in parsed])


def measured(name: str) -> Model:
    """Build a network without numbers, and count."""
    import torch

    from train.family import Architecture, build_model
    from train.multiply_adds import count
    from train.receptive_field import receptive_field

    with torch.device("meta"):
        network = build_model(name, CLASSES).eval()
    member = Architecture.parse(name).member
    return Model(
        name,
        params=sum(parameter.numel() for parameter in network.parameters()),
        gmacs=count(network, SIZE).plain / 1e9,
        receptive_field=receptive_field(network),
        output_strides=member.strides,
        modifiers=tuple(modifier for group in member.choices for modifier in group[1:]),
    )


def show(listing: Listing) -> None:
    """A table."""
    print(f"{'name':42}{'params':>9}{'GMAC':>9}{'field':>7}  strides  modifiers")
    for model in listing.models:
        strides = ",".join(map(str, model.output_strides))
        print(
            f"{model.name:42}{model.params / 1e6:8.2f}M{model.gmacs:9.2f}"
            f"{model.receptive_field:7}  {strides:9}{' '.join(model.modifiers)}".rstrip()
        )


def main(argv: list[str] | None = None) -> int:
    """Command line entry."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
