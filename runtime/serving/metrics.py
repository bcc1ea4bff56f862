"""`/metrics` for Prometheus, made from the stream's own counts when asked: nothing per frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from runtime.agreement import EDGES as SHARES
from runtime.agreement import Agreement
from runtime.serving.channel import Channel
from runtime.serving.sensors import Sensors
from runtime.timings import Distribution

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
EDGES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.033, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0)

COUNTERS: dict[str, tuple[str, Callable[[Channel], float]]] = {
    "deeplab_frames": ("Frames segmented", lambda c: c.lane.ages.count),
    "deeplab_dropped_frames": ("Frames that a newer one replaced", lambda c: c.lane.dropped),
    "deeplab_damaged_packets": ("Packets not decoded", lambda c: c.lane.source.damaged),
    "deeplab_reconnects": ("Times the source was found again", lambda c: c.lane.reconnects),
}
GAUGES: dict[str, tuple[str, Callable[[Channel], float]]] = {
    "deeplab_newest_frame_age_seconds": ("Since the newest frame's capture", Channel.age),
    "deeplab_fresh": ("1 while frames are fresh", lambda c: c.condition == "live"),
    "deeplab_paused": ("1 while paused", lambda c: c.lane.paused),
    "deeplab_viewers": ("Viewers of the picture", lambda c: c.viewers),
}


class ChannelCollector(Collector):
    """The channels' counts as metric families; labels are channels' names and stages alone."""

    def __init__(self, channels: list[Channel], sensors: Callable[[], Sensors]) -> None:
        self._channels = channels
        self._sensors = sensors

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        """All families, with the values of this moment."""
        for name, (text, value) in COUNTERS.items():
            counter = CounterMetricFamily(name, text, labels=["stream"])
            for channel in self._channels:
                counter.add_metric([channel.name], value(channel))
            yield counter
        for name, (text, value) in GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=["stream"])
            for channel in self._channels:
                gauge.add_metric([channel.name], float(value(channel)))
            yield gauge
        yield from self._times()
        yield from self._agreements()
        yield from self._machine()

    def _times(self) -> Iterable[HistogramMetricFamily]:
        ages = HistogramMetricFamily(
            "deeplab_frame_age_seconds", "From capture to the finished mask", labels=["stream"]
        )
        stages = HistogramMetricFamily(
            "deeplab_stage_seconds", "Wall time of a stage", labels=["stream", "stage"]
        )
        for channel in self._channels:
            _add(ages, [channel.name], channel.lane.ages)
            for stage, times in dict(channel.lane.timings.stages).items():
                _add(stages, [channel.name, stage], times)
        return ages, stages

    def _agreements(self) -> Iterable[GaugeMetricFamily | HistogramMetricFamily]:
        """Of --compare and --shadow; shares of a frame's pixels."""
        recent = GaugeMetricFamily(
            "deeplab_agreement",
            "Share of pixels with the other engine's label, mean of the last frames",
            labels=["stream"],
        )
        frames = HistogramMetricFamily(
            "deeplab_frame_agreement",
            "Share of a frame's pixels with the other engine's label",
            labels=["stream"],
        )
        for channel in self._channels:
            agreement = channel.agreement
            if agreement is not None and agreement.count:
                recent.add_metric([channel.name], agreement.recent)
                _add(frames, [channel.name], agreement, SHARES)
        return recent, frames

    def _machine(self) -> Iterable[GaugeMetricFamily]:
        sensors = self._sensors()
        heat = GaugeMetricFamily("deeplab_temperature_celsius", "Thermal zones", labels=["zone"])
        for zone, celsius in sensors.temperatures.items():
            heat.add_metric([zone], celsius)
        power = GaugeMetricFamily("deeplab_power_watts", "Power monitors", labels=["rail"])
        for rail, watts in sensors.power.items():
            power.add_metric([rail], watts)
        return heat, power


def _add(
    family: HistogramMetricFamily,
    labels: list[str],
    times: Distribution | Agreement,
    edges: tuple[float, ...] = EDGES,
) -> None:
    counts = times.cumulative(edges)
    count = max(times.count, counts[-1])  # it may have grown in between, and must not be less
    buckets = [(str(edge), float(n)) for edge, n in zip(edges, counts, strict=True)]
    family.add_metric(labels, [*buckets, ("+Inf", float(count))], times.total)


def exposition(channels: list[Channel], sensors: Callable[[], Sensors]) -> bytes:
    """The metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(ChannelCollector(channels, sensors))
    return generate_latest(registry)
