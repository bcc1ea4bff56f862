"""Where a build's calibration ranges come from: shipped, cached, or taken from frames now."""

from __future__ import annotations

import copy
import importlib.metadata
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.frames import CalibrationFrames
from calibration.scheme import LEARNED, Scheme
from engines.failures import Refused, UsageError
from engines.preprocess import VERSION
from engines.ranges import Channels, Ranges, RangesKey
from engines.spec import ModelSpec

if TYPE_CHECKING:
    from onnx import ModelProto

    from calibration.ranges.tally import Range, Statistics

TOOLS = ("numpy", "onnx", "onnxruntime", "av")


def shipped_ranges(path: Path | None, model: str, spec: ModelSpec) -> Ranges:
    """The ranges beside a checkpoint, if they belong to it; else an error that says what to type.

    `model` is the sha256 of the checkpoint.
    """
    if path is None or not path.is_file():
        raise UsageError(
            "--int8 needs real frames to calibrate on, and no ranges ship with this model: add "
            "--data folder:DIR or --data camvid:DIR (frames from where the camera will be)"
        )
    ranges = Ranges.load(path)
    wanted = RangesKey(model, spec.fingerprint(), VERSION, frames="", method="")
    reason = ranges.misfit(wanted)
    if reason:
        raise Refused(f"{path} cannot be used: {reason}; calibrate again with --data SPEC")
    return ranges


def ranges_from_frames(
    graph: ModelProto,
    model: str,
    spec: ModelSpec,
    frames: CalibrationFrames,
    scheme: Scheme,
    cache: Path | None,
) -> tuple[Ranges, bool]:
    """Ranges of the float graph over `frames`, and whether `cache` already held them.

    `model` is the sha256 of the checkpoint. The cache counts only if checkpoint, spec,
    preprocessing, the frames' pixels, scheme and format are all the same; else, and where it is
    damaged, the reason is told on stderr and the ranges are taken again.
    """
    calibration = Calibration(graph, model, spec, frames)
    if cache is not None and cache.is_file():
        try:
            cached = Ranges.load(cache)
            reason = cached.misfit(calibration.key(scheme))
        except Refused as error:
            reason = str(error)
        if reason is None:
            return cached, True
        print(f"  calibrating anew: {reason}", file=sys.stderr, flush=True)
    return calibration.ranges(scheme), False


@dataclass(frozen=True)
class _Repaired:
    """A float graph after the repairs that come before ranges, and what its tensors do."""

    graph: ModelProto
    factors: Channels
    biases: Channels  # what absorption added
    statistics: dict[str, Statistics]


class Calibration:
    """A float graph and its frames, from which the ranges of any scheme are taken.

    Frames are gone over once per repaired graph, not once per scheme. `model` is the sha256 of
    the checkpoint.
    """

    def __init__(
        self, graph: ModelProto, model: str, spec: ModelSpec, frames: CalibrationFrames
    ) -> None:
        self.graph, self._model, self._spec, self._frames = graph, model, spec, frames
        self._repaired: dict[tuple[bool, bool], _Repaired] = {}

    @cached_property
    def _digest(self) -> str:
        return self._frames.digest()

    def key(self, scheme: Scheme) -> RangesKey:
        """What the ranges of a scheme depend on."""
        fingerprint = self._spec.fingerprint()
        return RangesKey(self._model, fingerprint, VERSION, self._digest, str(scheme))

    def ranges(self, scheme: Scheme) -> Ranges:
        """All that a scheme finds out. Raises as `calibration.ranges.observe.collect` does."""
        from calibration.ranges.thresholds import find_range

        if scheme.method == LEARNED:
            raise UsageError(f"{scheme} ranges come from training (fit.py --qat), not from frames")
        key = self.key(scheme)
        repaired = self._repair(scheme.equalise, scheme.absorb)
        statistics = repaired.statistics
        tensors = {name: find_range(item, scheme.method) for name, item in statistics.items()}
        return Ranges(
            key=key,
            frame_count=len(self._frames),
            tensors=tensors,
            tools={name: importlib.metadata.version(name) for name in TOOLS},
            factors=repaired.factors,
            biases=self._biases(repaired, tensors, scheme),
            clipped={name: item.outside(tensors[name]) for name, item in statistics.items()},
        )

    def _repair(self, equalise: bool, absorb: bool) -> _Repaired:
        if (equalise, absorb) not in self._repaired:
            self._repaired[equalise, absorb] = _repair(self.graph, self._frames, equalise, absorb)
        return self._repaired[equalise, absorb]

    def _biases(
        self, repaired: _Repaired, tensors: Mapping[str, Range], scheme: Scheme
    ) -> dict[str, Channels]:
        """What is to be added to biases, flavour by flavour: absorption's share and correction."""
        from calibration.graphs.placement import FLAVOURS

        biases: dict[str, Channels] = {}
        if repaired.biases:
            biases |= dict.fromkeys(FLAVOURS, repaired.biases)
        if scheme.correct_bias:
            from calibration.repairs.bias_correction import bias_corrections

            for flavour in FLAVOURS:
                found = bias_corrections(repaired.graph, tensors, self._frames, flavour, scheme)
                biases[flavour] = _sums(repaired.biases, found)
        return {flavour: _rounded(found) for flavour, found in biases.items()}


def _repair(
    graph: ModelProto, frames: CalibrationFrames, equalise: bool, absorb: bool
) -> _Repaired:
    from calibration.ranges.observe import collect

    repaired = copy.deepcopy(graph)
    factors: Channels = {}
    biases: Channels = {}
    if equalise:
        from calibration.ranges.channels import channel_spans
        from calibration.repairs.equalise import apply_factors, find_factors

        factors = find_factors(repaired, channel_spans(repaired, frames))
        apply_factors(repaired, factors)
    if absorb:
        from calibration.ranges.channels import channel_spans
        from calibration.repairs.absorb import find_shifts
        from calibration.repairs.bias_correction import add_biases

        biases = find_shifts(repaired, channel_spans(repaired, frames))
        add_biases(repaired, biases)
    return _Repaired(repaired, factors, biases, collect(repaired, frames))


def _rounded(channels: Channels) -> Channels:
    """Six digits: means over frames know no more, and the files that ship are half as long."""
    return {name: [float(f"{x:.6g}") for x in values] for name, values in channels.items()}


def _sums(first: Channels, second: Channels) -> Channels:
    """Channel by channel; a node may be in one of them only."""
    both = {
        name: [a + b for a, b in zip(values, second[name], strict=True)]
        for name, values in first.items()
        if name in second
    }
    return {**first, **second, **both}
