"""What a worker tells of a shard."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Report:
    """What became of a shard; or `resumed`, the frames of shards that were finished before.

    `damaged` are packets that could not be decoded, `failures` says why by the input's name,
    `seconds` are those of each stage, and of `all` of it.
    """

    frames: int = 0
    resumed: int = 0
    damaged: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    worker: int = 0
    peak_rss_mb: float = 0.0
