"""An engine as the command line names it: `int8`, or `int8@openvino`."""

from __future__ import annotations

from dataclasses import dataclass

from engines.failures import UsageError, hint
from engines.manifest import CPU_TARGETS, PRECISIONS
from engines.session import Session


@dataclass(frozen=True)
class EngineName:
    """A precision, and what runs it; "auto" for what `--target` says."""

    precision: str
    target: str = "auto"


def in_words(session: Session) -> str:
    """What runs, for people: `int8 on cpu`."""
    return f"{session.precision} on {session.target}"


def parse_pair(text: str) -> tuple[EngineName, EngineName]:
    """The two engines of `--compare A,B`."""
    words = text.split(",")
    if len(words) != 2:
        raise UsageError(f"--compare {text}: two engines, e.g. --compare fp32,int8@openvino")
    first, second = (parse_engine(word.strip()) for word in words)
    return first, second


def parse_engine(text: str) -> EngineName:
    """`PRECISION` or `PRECISION@TARGET`."""
    precision, at, target = text.partition("@")
    if precision not in PRECISIONS:
        raise UsageError(f"--compare: no precision {precision!r}: {hint(precision, PRECISIONS)}")
    if at and target not in CPU_TARGETS:
        raise UsageError(
            f"--compare: no target {target!r} to compare on: {hint(target, CPU_TARGETS)} (plans of "
            "a GPU are compared with FP32 by python export/verify.py --bundle DIR)"
        )
    return EngineName(precision, target if at else "auto")
