"""Ranges of a build: taken once, kept as long as nothing changed, and never stale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from calibration import observe
from calibration.calibrate import FLAVOURS, Calibration, ranges_from_frames, shipped_ranges
from calibration.fidelity import Reference
from calibration.frames import CalibrationFrames
from calibration.qdq import quantize
from calibration.quantized import quantized
from calibration.scheme import METHODS, Scheme
from calibration.wiring import Wiring
from engines.failures import Refused, UsageError
from engines.spec import ModelSpec
from scenes.dataset import Colour, Scene

Frames = list[NDArray[np.uint8]]

SPEC = ModelSpec(
    name="miniature",
    architecture="miniature",
    classes=("a", "b", "c", "d", "e"),
    palette=((0, 0, 0),) * 5,
    input_size=(32, 48),
    mean=(127.5,) * 3,
    std=(127.5,) * 3,
)
MINMAX = Scheme("minmax")


class Listed:
    """A dataset of given frames."""

    classes: tuple[str, ...] = SPEC.classes
    palette: tuple[Colour, ...] = SPEC.palette

    def __init__(self, frames: Frames) -> None:
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Scene:
        frame = self.frames[index]
        return Scene(str(index), frame, np.zeros(frame.shape[:2], np.uint8))

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(len(self)))


def calibration_frames(frames: Frames) -> CalibrationFrames:
    return CalibrationFrames(Listed(frames), SPEC.input_size, range(len(frames)))


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


def build(
    graph: ModelProto, frames: Frames, cache: Path, **changes: str | Scheme | ModelSpec
) -> bool:
    """What a build does with its cache; whether it was used."""
    facts = {"model": "m", "spec": SPEC, "scheme": MINMAX} | changes
    chosen = calibration_frames(frames)
    ranges, cached = ranges_from_frames(graph, frames=chosen, cache=cache, **facts)  # type: ignore[arg-type]
    ranges.save(cache)
    return cached


def test_the_same_build_again_takes_the_cache_and_another_order_does_too(
    miniature: ModelProto, frames: Frames, tmp_path: Path, calibrations: list[int]
) -> None:
    cache = tmp_path / "ranges.json"
    assert not build(miniature, frames, cache)
    before = cache.read_bytes()
    assert build(miniature, frames, cache)
    assert build(miniature, frames[::-1], cache)
    assert cache.read_bytes() == before
    assert calibrations == [len(frames)]


def edited(frames: Frames) -> Frames:
    first = frames[0].copy()
    first[3, 4, 1] ^= 1
    return [first, *frames[1:]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "other"}, "the checkpoint has changed"),
        ({"spec": replace(SPEC, mean=(0.0,) * 3)}, "the model spec has changed"),
        ({"scheme": Scheme("percentile")}, "the calibration method is another one"),
        ({"scheme": Scheme("minmax", keep_sums=False)}, "the calibration method is another one"),
    ],
)
def test_any_change_calibrates_anew_and_says_why(
    miniature: ModelProto,
    frames: Frames,
    tmp_path: Path,
    calibrations: list[int],
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    reason: str,
) -> None:
    cache = tmp_path / "ranges.json"
    build(miniature, frames, cache)
    assert not build(miniature, frames, cache, **change)
    assert reason in capsys.readouterr().err
    assert len(calibrations) == 2


def test_one_changed_pixel_or_one_frame_less_calibrates_anew(
    miniature: ModelProto, frames: Frames, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "ranges.json"
    build(miniature, frames, cache)
    assert not build(miniature, edited(frames), cache)
    assert not build(miniature, frames[1:], cache)
    assert capsys.readouterr().err.count("the frames have changed") == 2


def test_another_preprocessing_or_format_calibrates_anew(
    miniature: ModelProto,
    frames: Frames,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cache = tmp_path / "ranges.json"
    build(miniature, frames, cache)
    cache.write_text(cache.read_text().replace('"format": 2', '"format": 1'))
    assert not build(miniature, frames, cache)
    assert "the file format is another version" in capsys.readouterr().err
    monkeypatch.setattr("calibration.calibrate.VERSION", "lanczos-2")
    assert not build(miniature, frames, cache)
    assert "the preprocessing has changed" in capsys.readouterr().err


def test_a_damaged_cache_calibrates_anew(
    miniature: ModelProto, frames: Frames, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "ranges.json"
    build(miniature, frames, cache)
    good = cache.read_bytes()
    cache.write_bytes(good[: len(good) // 2])
    assert not build(miniature, frames, cache)
    assert "ranges.json is not a valid ranges file" in capsys.readouterr().err
    assert cache.read_bytes() == good


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"model": "other"}, "checkpoint"), ({"spec": replace(SPEC, std=(1.0,) * 3)}, "spec")],
)
def test_shipped_ranges_of_another_model_are_refused(
    miniature: ModelProto,
    frames: Frames,
    tmp_path: Path,
    change: dict[str, Any],
    reason: str,
) -> None:
    path = tmp_path / "net.ranges.json"
    build(miniature, frames, path)
    facts: dict[str, Any] = {"model": "m", "spec": SPEC}
    assert shipped_ranges(path, **facts).frame_count == len(frames)
    with pytest.raises(Refused, match=f"{reason} has changed.*calibrate again with --data"):
        shipped_ranges(path, **(facts | change))


def test_no_shipped_ranges_say_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--data"):
        shipped_ranges(tmp_path / "none.json", "m", SPEC)


def test_all_methods_share_one_collection(
    miniature: ModelProto, frames: Frames, calibrations: list[int]
) -> None:
    calibration = Calibration(miniature, "m", SPEC, calibration_frames(frames))
    found = {method: calibration.ranges(Scheme(method)) for method in METHODS}
    assert len(calibrations) == 1
    for method, ranges in found.items():
        assert ranges.key.method == method
        assert ranges.tensors == observe.observe(miniature, frames, method)
    for method in ("average", "entropy", "mse"):
        assert found[method].tensors != found["minmax"].tensors


def test_clipped_shares_say_what_a_range_leaves_out(miniature: ModelProto, frames: Frames) -> None:
    calibration = Calibration(miniature, "m", SPEC, calibration_frames(frames))
    everything = calibration.ranges(MINMAX)
    assert set(everything.clipped.values()) == {0.0}
    cut = calibration.ranges(Scheme("mse"))
    for name, share in cut.clipped.items():
        assert (share > 0) == (cut.tensors[name] != everything.tensors[name]), name
        assert share < 0.1


def test_learned_ranges_are_never_taken_from_frames(miniature: ModelProto, frames: Frames) -> None:
    calibration = Calibration(miniature, "m", SPEC, calibration_frames(frames))
    with pytest.raises(UsageError, match="qat ranges come from training"):
        calibration.ranges(Scheme("qat"))


@pytest.mark.parametrize("dead", [0.0, 1e-42])
def test_no_scale_is_zero_subnormal_or_infinite(
    miniature: ModelProto, frames: Frames, dead: float
) -> None:
    """A layer whose result is zero everywhere, or as good as zero."""
    graph = ModelProto()
    graph.CopyFrom(miniature)
    for tensor in graph.graph.initializer:
        if tensor.name in ("narrow.weight", "narrow.bias", "wide.weight", "wide.bias"):
            values = np.full(tuple(tensor.dims), dead, np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    calibration = Calibration(graph, "m", SPEC, calibration_frames(frames))
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
    miniature: ModelProto, frames: Frames, calibrations: list[int], word: str
) -> None:
    scheme = Scheme.parse(word)
    before = miniature.SerializeToString(deterministic=True)
    calibration = Calibration(miniature, "m", SPEC, calibration_frames(frames))
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
    miniature: ModelProto, frames: Frames, tmp_path: Path
) -> None:
    texts = []
    for order in (frames, frames[::-1]):
        calibration = Calibration(miniature, "m", SPEC, calibration_frames(order))
        for method in METHODS:
            calibration.ranges(Scheme(method)).save(tmp_path / f"{method}.json")
        texts.append([(tmp_path / f"{method}.json").read_bytes() for method in METHODS])
    assert texts[0] == texts[1]
