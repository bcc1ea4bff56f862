"""The choice of a scheme: every try is kept, the best is first, and frames are gone over once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

from calibration.calibrate import Calibration
from calibration.choose import Try, choose, repairs
from calibration.fidelity import Reference
from calibration.frames import CalibrationFrames
from calibration.graphs.placement import FLAVOURS
from calibration.graphs.quantized import quantized
from calibration.ranges import observe
from calibration.scheme import METHODS, Scheme
from engines.failures import Refused
from engines.ranges import Ranges
from engines.spec import ModelSpec

Frames = list[NDArray[np.uint8]]


@pytest.fixture
def calibration(
    miniature: ModelProto,
    miniature_spec: ModelSpec,
    frames: Frames,
    calibration_frames: Callable[[Frames], CalibrationFrames],
) -> Calibration:
    return Calibration(miniature, "m", miniature_spec, calibration_frames(frames[:5]))


def test_given_schemes_are_tried_and_ranked(
    calibration: Calibration,
    miniature: ModelProto,
    frames: Frames,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collections = []
    original = observe.collect

    def counted(model: ModelProto, observed: Frames) -> object:
        collections.append(len(observed))
        return original(model, observed)

    monkeypatch.setattr(observe, "collect", counted)
    words = ("minmax+per-tensor+plain-rounding", "mse", "minmax")
    tries = choose(calibration, frames[5:], [Scheme.parse(word) for word in words])
    assert sorted(str(item.scheme) for item in tries) == sorted(words)
    assert [item.score for item in tries] == sorted((item.score for item in tries), reverse=True)
    assert collections == [5]
    reference = Reference(miniature, frames[5:])
    for item in tries:
        assert item.ranges.key.method == str(item.scheme)
        assert item.ranges == calibration.ranges(item.scheme)
        assert item.seconds > 0
        for flavour in FLAVOURS:
            again = reference.score(quantized(miniature, item.ranges, flavour))
            assert item.fidelity[flavour] == again
        assert item.score == np.mean([item.fidelity[flavour].miou for flavour in FLAVOURS])


def test_by_default_all_methods_and_then_repairs_of_the_best(
    calibration: Calibration, frames: Frames
) -> None:
    tries = choose(calibration, frames[5:])
    tried = {str(item.scheme) for item in tries}
    best = next(item for item in tries if str(item.scheme) in METHODS)
    assert tried == {*METHODS, *map(str, repairs(best.scheme))}
    assert len(tries) == len(METHODS) + 3
    assert max(tries, key=lambda item: item.score) == tries[0]


def test_the_earlier_scheme_wins_a_draw(
    calibration: Calibration, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Try, "score", 1.0)
    schemes = [Scheme("mse"), Scheme("minmax")]
    assert [item.scheme for item in choose(calibration, frames[5:], schemes)] == schemes


def test_repairs_of_a_method() -> None:
    assert [str(scheme) for scheme in repairs(Scheme("mse"))] == [
        "mse+equalise",
        "mse+bias",
        "mse+equalise+bias",
    ]


def test_nothing_held_out_is_refused(calibration: Calibration) -> None:
    with pytest.raises(Refused, match="no frame to compare"):
        choose(calibration, [])


def test_a_bad_range_scores_worse(
    calibration: Calibration, miniature: ModelProto, frames: Frames
) -> None:
    good = calibration.ranges(Scheme("minmax"))
    ruined = good.tensors | {"expand/Clip": (0.0, 1e-2)}
    bad = Ranges(good.key, good.frame_count, ruined)
    reference = Reference(miniature, frames[5:])
    for flavour in FLAVOURS:
        scores = [reference.score(quantized(miniature, r, flavour)).miou for r in (good, bad)]
        assert scores[0] > scores[1], flavour
