"""Whether a stream still looks like calibration: its light, its colours, and what clips inside.

INT8 is made for what calibration saw. A picture outside of that may still be segmented well, but
nobody has measured it; so a stream that leaves it says so, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engines.bundle import Bundle
from engines.clip_probe import Clip, ProbedSession
from engines.failures import UsageError
from engines.input_statistics import InputStatistics, curves, mean_brightness
from engines.session import Session
from runtime.alarm import Alarm
from runtime.mean import Mean
from runtime.source import Image

# Share of pixels outside the calibration frames' band. Seen on means of frames: at most 0.06 for
# frames like the calibration's (CamVid's val, streets of other seeds); CamVid at 0.3 of its
# brightness 0.20 to 0.27, though its own frames differ by a factor of three; another dash camera's
# colours 0.17 to 0.19; red and blue swapped 0.16 and more on streets.
MARGIN = 0.15
WINDOW = 32  # frames that the mean goes over: a single odd one moves it by 0.03
CALM = 300  # frames: ten seconds of a camera
# Against a layer's share of clipped values in calibration (1e-5 for percentiles): on CamVid no
# layer of the bundled model passes 1.1e-4 on any frame; noise brings the first to 7e-4.
CLIP_FACTOR, CLIP_FLOOR = 3.0, 3e-4
PROBES = (
    8  # that a mean of clipped shares goes over, one probe every `engines.clip_probe.EVERY` frames
)
PROBES_CALM = 15

ADVICE = "add frames like these and calibrate again (docs/calibration_data.md)"


class Drift:
    """Watches a stream's frames (`see`) and its activations (`clipped`), each from one thread.

    Args:
        statistics: Of the calibration frames.
        tell: Gets one line when a warning is raised, and no other until it was calm for long.
    """

    def __init__(self, statistics: InputStatistics, tell: Callable[[str], None]) -> None:
        self._statistics = statistics
        self._tell = tell
        self._live = Mean(WINDOW)
        self._darker = Alarm("darker than calibration", MARGIN, CALM)
        self._brighter = Alarm("brighter than calibration", MARGIN, CALM)
        self._colours = Alarm("other colours than calibration", MARGIN, CALM)
        self._clipping = Alarm("activations clip more than at calibration", 1.0, PROBES_CALM)
        self._layers: dict[str, Mean] = {}
        self._frames = self._probes = 0

    def see(self, image: Image) -> None:
        """Take the next frame [H, W, 3], fitted to the model as calibration frames were."""
        self._frames += 1
        live = self._live.add(curves(image))
        if not self._live.settled:
            return
        excess = self._statistics.excess(live)
        for alarm, level in (
            (self._darker, excess.darker),
            (self._brighter, excess.brighter),
            (self._colours, excess.colours),
        ):
            if alarm.update(level):
                self._tell(f"drift: {alarm.words}: {self._light(level, alarm)}; {ADVICE}")

    def clipped(self, layers: Mapping[str, Clip]) -> None:
        """Take what one probed frame clipped, per layer."""
        self._probes += 1
        levels = {}
        for name, clip in layers.items():
            mean = self._layers.setdefault(name, Mean(PROBES)).add(clip.share)
            levels[name] = mean / (CLIP_FACTOR * clip.expected + CLIP_FLOOR)
        worst = max(levels, key=lambda name: levels[name])
        if self._layers[worst].settled and self._clipping.update(levels[worst]):
            share, expected = self._layers[worst].value, layers[worst].expected
            self._tell(
                f"drift: {self._clipping.words}: {share:.2%} of the values of layer {worst}, "
                f"{expected:.3%} at calibration; {ADVICE}"
            )

    def notice(self) -> str:
        """The warnings that are raised now, in a few words; empty if there is none."""
        return ", ".join(alarm.words for alarm in self._alarms() if alarm.raised)

    def to_json(self) -> dict[str, Any]:
        """For the summary of a stream that has ended.

        `level` is the worst mean share of pixels outside the calibration frames' band; for
        clipping it is the worst layer's share over what is allowed. `first` counts frames, or
        probed frames, from when the mean had settled.
        """
        return {
            "frames": self._frames,
            "probed": self._probes,
            "calibration_frames": self._statistics.frames,
            "warnings": [
                {
                    "what": alarm.words, "times": alarm.times, "first": alarm.first,
                    "updates": alarm.updates, "level": round(alarm.worst, 3),
                }
                for alarm in self._alarms()
                if alarm.times
            ],
        }  # fmt: skip

    def _alarms(self) -> tuple[Alarm, ...]:
        return self._darker, self._brighter, self._colours, self._clipping

    def _light(self, level: float, alarm: Alarm) -> str:
        """What was seen and what calibration saw."""
        outside = f"{level:.0%} of the pixels are outside what calibration frames had"
        if alarm is self._colours:
            return outside
        low, high = self._statistics.brightness
        now = mean_brightness(self._live.value)
        return f"mean brightness {now:.0f} of 255, calibration frames {low:.0f} to {high:.0f}"


def watch(
    bundle: Bundle, session: Session, tell: Callable[[str], None]
) -> tuple[Drift, ProbedSession | None, str]:
    """A watch of a stream, what is to run in place of `session`, if anything, and what is watched.

    Without statistics of the calibration frames in the bundle: `UsageError`.
    """
    file = bundle.manifest.find("calibration-input")
    if file is None:
        raise UsageError(
            f"--drift: {bundle.root} keeps no statistics of its calibration frames: build it again "
            "with python export/build_engine.py --int8 --data SPEC"
        )
    drift = Drift(InputStatistics.from_json(bundle.read(file)), tell)
    probe = bundle.manifest.find("probe", precision=session.precision)
    if probe is not None and session.target == "openvino":
        return drift, None, "of light and colours (of clipping, too, with --target cpu)"
    if probe is None or session.target != "cpu":
        return drift, None, f"of light and colours ({session.precision} tells of no clipping)"
    probed = ProbedSession(session, bundle.read(probe), drift.clipped)
    return drift, probed, f"of light, colours and the clipping of {len(probed.layers)} layers"
