"""Which frames are given up when the stream is slower than its source."""

from __future__ import annotations

from dataclasses import dataclass

from engines.failures import UsageError

LONGEST_BUDGET = 5.0  # s: 150 frames at 30/s, 0.4 GB at 1280x720


@dataclass(frozen=True)
class DropPolicy:
    """`newest`: a frame that was not taken is replaced by the next one, so none is ever old.
    `all`: the source waits, so none is lost. `budget`: all, in order, as long as none waits
    longer than `seconds`; what does is dropped, so a short hiccup loses nothing.
    """

    name: str
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"budget={1e3 * self.seconds:g}" if self.name == "budget" else self.name


NEWEST = DropPolicy("newest")
ALL = DropPolicy("all")


def drop_policy(text: str, *, live: bool) -> DropPolicy:
    """The policy that `--drop` names: auto (newest if live, else all), newest, all, budget=MS."""
    if text == "auto":
        return NEWEST if live else ALL
    named = {"newest": NEWEST, "all": ALL}
    if text in named:
        return named[text]
    name, _, milliseconds = text.partition("=")
    try:
        seconds = float(milliseconds) / 1e3
    except ValueError:
        seconds = 0.0
    if name == "budget" and 0 < seconds <= LONGEST_BUDGET:
        return DropPolicy("budget", seconds)
    raise UsageError(
        f"--drop {text}: newest, all, or budget=MS with at most {1e3 * LONGEST_BUDGET:g} ms, "
        "for example --drop budget=200"
    )
