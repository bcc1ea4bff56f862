"""What the page shows beside the picture, as JSON."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np

from runtime.frame_path import Labels
from runtime.overlay import SAMPLING
from runtime.serving.channel import Channel

PERIOD = 0.25  # seconds between two states that are sent to viewers
GONE = 3.0  # seconds after its last run in which a stage is still told


class ChannelState:
    """The state of one channel; stage times are means since the last one that had any."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._totals: dict[str, tuple[int, float]] = {}
        self._means: dict[str, tuple[float, float]] = {}  # ms, and when it was counted

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; shares are of the frame, times in ms."""
        channel, lane = self.channel, self.channel.lane
        latest, condition = channel.latest, channel.condition
        size = [0, 0] if latest is None else list(latest.labels.shape)
        return {
            "name": channel.name,
            "title": channel.title,
            "condition": condition,
            "detail": lane.source.status.detail,
            "age_ms": round(1e3 * channel.age(), 1),
            "mask_age_ms": 0.0 if latest is None else round(1e3 * latest.age, 1),
            "fps": round(channel.fps, 2) if condition == "live" else 0.0,
            "frames": lane.ages.count,
            "dropped": lane.dropped,
            "damaged": lane.source.damaged,
            "reconnects": lane.reconnects,
            "viewers": channel.viewers,
            "size": size,
            "model": self._model(),
            "classes": self._classes(None if latest is None else latest.labels),
            "stages_ms": self._stages(),
            "settings": asdict(channel.switches.now),
            "choices": channel.switches.choices,
            "agreement": None if channel.agreement is None else channel.agreement.brief(),
            "recording": None if channel.recordings is None else channel.recordings.to_json(),
        }

    def _model(self) -> dict[str, str]:
        session = self.channel.session
        return {
            "name": session.spec.name,
            "precision": session.precision,
            "target": session.target,
        }

    def _classes(self, labels: Labels | None) -> list[dict[str, Any]]:
        spec = self.channel.session.spec
        shares = [0.0] * len(spec.classes) if labels is None else class_shares(labels, spec.classes)
        return [
            {"name": name, "colour": "#{:02x}{:02x}{:02x}".format(*colour), "share": share}
            for name, colour, share in zip(spec.classes, spec.palette, shares, strict=True)
        ]

    def _stages(self) -> dict[str, float]:
        now = time.monotonic()
        for name, times in dict(self.channel.lane.timings.stages).items():
            count, total = times.count, times.total
            counted, spent = self._totals.get(name, (0, 0.0))
            if count > counted:
                mean = round(1e3 * (total - spent) / (count - counted), 3)
                self._means[name], self._totals[name] = (mean, now), (count, total)
        return {name: ms for name, (ms, when) in self._means.items() if now - when < GONE}


class State:
    """The state of all channels; asked for more often than `PERIOD`, it answers the same again."""

    def __init__(self, channels: list[Channel]) -> None:
        self._states = [ChannelState(channel) for channel in channels]
        self._start = time.monotonic()
        self._made = -PERIOD
        self._last: dict[str, Any] = {}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        now = time.monotonic()
        if now - self._made >= 0.8 * PERIOD:
            streams = [state.to_json() for state in self._states]
            self._last = {"uptime_s": round(now - self._start, 1), "streams": streams}
            self._made = now
        return self._last


def class_shares(labels: Labels, classes: tuple[str, ...]) -> list[float]:
    """The share of each class in labels [H, W], looking at every 4th pixel of every 4th row."""
    sample = labels[::SAMPLING, ::SAMPLING]
    counts = np.bincount(sample.ravel(), minlength=256)[: len(classes)]
    return [round(float(share), 4) for share in counts / max(1, sample.size)]
