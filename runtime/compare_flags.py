"""The flags of `stream.py` that hold one engine to another, and what they do not go with."""

from __future__ import annotations

import argparse

from engines.failures import UsageError


def add_compare_flags(parser: argparse.ArgumentParser) -> None:
    """Add them, as a group of their own."""
    group = parser.add_argument_group("comparison", "of engines on the CPU (docs/compare.md)")
    group.add_argument(
        "--compare",
        metavar="A,B",
        help="run every frame on both engines and show them side by side, with the pixels that "
        "differ: fp32,int8 or int8@cpu,int8@openvino",
    )
    group.add_argument(
        "--shadow",
        type=int,
        metavar="N",
        help="run every Nth frame on FP32, too, beside the stream, and tell how far its labels "
        "agree",
    )


def check_compare_flags(
    compare: str | None, shadow: int | None, precision: str, target: str, drift: bool
) -> None:
    """Raise `UsageError` for flags that contradict each other."""
    if shadow is not None and shadow < 1:
        raise UsageError(f"--shadow {shadow}: every Nth frame, N at least 1")
    if (compare or shadow) and target.startswith("tensorrt"):
        flag = "--compare" if compare else "--shadow"
        raise UsageError(
            f"{flag} needs an engine of the CPU, not --target {target}: a plan is held to FP32 by "
            "python export/verify.py --bundle DIR"
        )
    if compare is None:
        return
    from runtime.engine_name import parse_pair

    parse_pair(compare)
    if precision != "auto":
        raise UsageError(f"--compare {compare} names both precisions: leave --precision out")
    if drift:
        raise UsageError("--drift watches one engine: leave it out, or --compare")
    if shadow is not None:
        raise UsageError("--compare looks at every frame: leave --shadow out")
