"""What every comparison of ours with a peer tells; benchmarks add what they measure beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Pair:
    """One of ours against one peer: median milliseconds; above a ratio of 1 ours wins."""

    name: str
    peer: str
    threads: int
    settings: dict[str, Any]
    ours_ms: float
    peer_ms: float
    ratio: float
