"""Ranges of a build: taken once, kept as long as nothing changed, and never stale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from calibration.calibrate import Calibration, ranges_from_frames, shipped_ranges
from calibration.fidelity import Reference
from calibration.frames import CalibrationFrames
from calibration.graphs.placement import FLAVOURS
from calibration.graphs.qdq import quantize
from calibration.graphs.quantized import quantized
from calibration.graphs.wiring import Wiring
from calibration.ranges import observe
from calibration.scheme import METHODS, Scheme
from engines.failures import Refused, UsageError
from engines.spec import ModelSpec

Frames = list[NDArray[np.uint8]]
Build = Callable[..., bool]
Calibrate = Callable[[ModelProto, Frames], Calibration]
MINMAX = Scheme("minmax")


@pytest.fixture
def calibrations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that statistics are collected: how many frames."""
    calls = []
    original = observe.collect

    def counted(model: ModelProto, frames: Frames, *options: Any) -> object:
        calls.append(len(frames))
        return original(model, frames, *options)

    monkeypatch.setattr(observe, "collect", counted)
    return calls


@pytest.fixture
def calibrate(
    miniature_spec: ModelSpec, calibration_frames: Callable[[Frames], CalibrationFrames]
) -> Calibrate:
    return lambda graph, frames: Calibration(graph, "m", miniature_spec, calibration_frames(frames))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "ranges.json"


@pytest.fixture
def build(
    miniature: ModelProto,
    miniature_spec: ModelSpec,
    calibration_frames: Callable[[Frames], CalibrationFrames],
    cache: Path,
) -> Build:
    """What a build does with its cache; returns whether it was used."""

    def run(frames: Frames, model: str = "m", scheme: Scheme = MINMAX, **changed: Any) -> bool:
        spec = replace(miniature_spec, **changed)
        chosen = calibration_frames(frames)
        ranges, cached = ranges_from_frames(miniature, model, spec, chosen, scheme, cache)
        ranges.save(cache)
        return cached

    return run


def test_the_same_build_again_takes_the_cache_and_another_order_does_too(
    build: Build, frames: Frames, cache: Path, calibrations: list[int]
) -> None:
    assert not build(frames)
    before = cache.read_bytes()
    assert build(frames)
    assert build(frames[::-1])
    assert cache.read_bytes() == before
    assert calibrations == [len(frames)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "other"}, "the checkpoint has changed"),
        ({"mean": (0.0, 0.0, 0.0)}, "the model spec has changed"),
        ({"scheme": Scheme("percentile")}, "the calibration method is another one"),
        ({"scheme": Scheme("minmax", keep_sums=False)}, "the calibration method is another one"),
    ],
)
def test_any_change_calibrates_anew_and_says_why(
    build: Build,
    frames: Frames,
    calibrations: list[int],
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    reason: str,
) -> None:
    build(frames)
    assert not build(frames, **change)
    assert reason in capsys.readouterr().err
    assert len(calibrations) == 2


def test_one_changed_pixel_or_one_frame_less_calibrates_anew(
    build: Build, frames: Frames, capsys: pytest.CaptureFixture[str]
) -> None:
    build(frames)
    edited = frames[0].copy()
    edited[3, 4, 1] ^= 1
    assert not build([edited, *frames[1:]])
    assert not build(frames[1:])
    assert capsys.readouterr().err.count("the frames have changed") == 2


def test_another_preprocessing_or_format_calibrates_anew(
    build: Build,
    frames: Frames,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    build(frames)
    cache.write_text(cache.read_text().replace('"format": 2', '"format": 1'))
    assert not build(frames)
    assert "the file format is another version" in capsys.readouterr().err
    monkeypatch.setattr("calibration.calibrate.VERSION", "lanczos-2")
    assert not build(frames)
    assert "the preprocessing has changed" in capsys.readouterr().err


def test_a_damaged_cache_calibrates_anew(
    build: Build, frames: Frames, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(frames)
    good = cache.read_bytes()
    cache.write_bytes(good[: len(good) // 2])
    assert not build(frames)
    assert "ranges.json is not a valid ranges file" in capsys.readouterr().err
    assert cache.read_bytes() == good


def test_shipped_ranges_of_another_model_are_refused(
    build: Build, frames: Frames, cache: Path, miniature_spec: ModelSpec
) -> None:
    build(frames)
    assert shipped_ranges(cache, "m", miniature_spec).frame_count == len(frames)
    with pytest.raises(Refused, match=r"checkpoint has changed.*calibrate again with --data"):
        shipped_ranges(cache, "other", miniature_spec)
    with pytest.raises(Refused, match=r"spec has changed.*calibrate again with --data"):
        shipped_ranges(cache, "m", replace(miniature_spec, std=(1.0, 1.0, 1.0)))


def test_no_shipped_ranges_say_what_to_type(cache: Path, miniature_spec: ModelSpec) -> None:
    with pytest.raises(UsageError, match="--data"):
        shipped_ranges(cache, "m", miniature_spec)


def test_all_methods_share_one_collection(
    calibrate: Calibrate, miniature: ModelProto, frames: Frames, calibrations: list[int]
) -> None:
    calibration = calibrate(miniature, frames)
    found = {method: calibration.ranges(Scheme(method)) for method in METHODS}
    assert len(calibrations) == 1
    for method, ranges in found.items():
        assert ranges.key.method == method
        assert ranges.tensors == observe.observe(miniature, frames, method)
    for method in ("average", "entropy", "mse"):
        assert found[method].tensors != found["minmax"].tensors


def test_clipped_shares_say_what_a_range_leaves_out(
    calibrate: Calibrate, miniature: ModelProto, frames: Frames
) -> None:
    calibration = calibrate(miniature, frames)
    everything = calibration.ranges(MINMAX)
    assert set(everything.clipped.values()) == {0.0}
    cut = calibration.ranges(Scheme("mse"))
    for name, share in cut.clipped.items():
        assert (share > 0) == (cut.tensors[name] != everything.tensors[name]), name
        assert share < 0.1


def test_learned_ranges_are_never_taken_from_frames(
    calibrate: Calibrate, miniature: ModelProto, frames: Frames
) -> None:
    calibration = calibrate(miniature, frames)
    with pytest.raises(UsageError, match="qat ranges come from training"):
        calibration.ranges(Scheme("qat"))


@pytest.mark.parametrize("dead", [0.0, 1e-42])
def test_no_scale_is_zero_subnormal_or_infinite(
    calibrate: Calibrate, miniature: ModelProto, frames: Frames, dead: float
) -> None:
    """A layer whose result is zero everywhere, or as good as zero."""
    graph = ModelProto()
    graph.CopyFrom(miniature)
    for tensor in graph.graph.initializer:
        if tensor.name in ("narrow.weight", "narrow.bias", "wide.weight", "wide.bias"):
            values = np.full(tuple(tensor.dims), dead, np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    calibration = calibrate(graph, frames)
    for method in METHODS:
        ranges = calibration.ranges(Scheme(method)).tensors
        assert ranges["wide/Clip"][1] < 1e-41
        for flavour in FLAVOURS:
            wiring = Wiring(quantize(graph, ranges, flavour))
            pairs = [node for node in wiring.nodes if node.op_type == "QuantizeLinear"]
            scales = np.stack([wiring.value(node.input[1]) for node in pairs])
            assert len(scales) > 10
            assert np.isfinite(scales).all(), (method, flavour)
            assert (scales >= np.finfo(np.float32).tiny).all(), (method, flavour)


@pytest.mark.parametrize("word", ["minmax+equalise", "mse+absorb", "mse+equalise+absorb+bias"])
def test_repairs_are_in_the_ranges_and_the_graph_is_quantized_with_them(
    calibrate: Calibrate, miniature: ModelProto, frames: Frames, calibrations: list[int], word: str
) -> None:
    scheme = Scheme.parse(word)
    before = miniature.SerializeToString(deterministic=True)
    calibration = calibrate(miniature, frames)
    ranges = calibration.ranges(scheme)
    assert bool(ranges.factors) == scheme.equalise
    assert set(ranges.biases) == (set(FLAVOURS) if scheme.correct_bias or scheme.absorb else set())
    assert ranges.key.method == word
    reference = Reference(miniature, frames)
    for flavour in FLAVOURS:
        assert reference.score(quantized(miniature, ranges, flavour)).sqnr_db > 15
    assert miniature.SerializeToString(deterministic=True) == before
    calibration.ranges(replace(scheme, method="average"))
    assert len(calibrations) == 1


def test_ranges_of_two_runs_are_the_same_bytes(
    calibrate: Calibrate, miniature: ModelProto, frames: Frames, tmp_path: Path
) -> None:
    texts = []
    for order in (frames, frames[::-1]):
        calibration = calibrate(miniature, order)
        for method in METHODS:
            calibration.ranges(Scheme(method)).save(tmp_path / f"{method}.json")
        texts.append([(tmp_path / f"{method}.json").read_bytes() for method in METHODS])
    assert texts[0] == texts[1]


def test_repairs_do_not_depend_on_the_order_of_the_frames_either(
    calibrate: Calibrate, miniature: ModelProto, frames: Frames
) -> None:
    scheme = Scheme.parse("entropy+equalise+absorb+bias")
    texts = {calibrate(miniature, order).ranges(scheme).text() for order in (frames, frames[::-1])}
    assert len(texts) == 1
