"""The self-test tells right engines from wrong ones, on every target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.bundle import Bundle, writing_bundle
from engines.failures import Refused
from engines.golden_test import LEAST, MARGIN, golden_limit, golden_test, require_golden
from engines.manifest import PRECISIONS, Manifest
from engines.spec import ModelSpec
from tests.engines.fake_tensorrt import Network
from tests.engines.plan_bundles import SPEC, add_golden, network

COUNTED = {"fp16": 0.9997, "int8_u8": 0.997, "int8_s8": 0.9962, "mixed_s8": 0.9}


@dataclass
class FunctionSession:
    """A session that computes a NumPy function."""

    network: Network = network
    precision: str = "fp32"
    target: str = "cpu"
    spec: ModelSpec = SPEC
    description: str = "a function"

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.stack([self.network(frame) for frame in frames])

    def close(self) -> None:
        pass

    def __enter__(self) -> FunctionSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def bundle(root: Path, agreement: Any = COUNTED, golden: int = 4) -> Bundle:
    with writing_bundle(root / "bundle") as writer:
        add_golden(writer, golden)
        writer.finish(Manifest(SPEC, "fp32", (), {"golden_agreement": agreement}))
    return Bundle.open(root / "bundle")


def changed(share: float) -> Network:
    """An engine that gives this share of the rows of pixels the other label."""

    def other(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = network(frame)
        rows = round(share * logits.shape[1])
        logits[:, :rows] *= -1
        return logits

    return other


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("target", ["cpu", "openvino", "tensorrt", "tensorrt-rtx"])
def test_a_right_engine_passes(tmp_path: Path, precision: str, target: str) -> None:
    session = FunctionSession(precision=precision, target=target)
    result = require_golden(session, bundle(tmp_path), "python ...")
    assert (result.frames, result.agreement, result.problem) == (4, 1.0, None)


def test_the_share_of_equal_pixels_is_counted(tmp_path: Path) -> None:
    result = golden_test(FunctionSession(changed(1 / 8)), bundle(tmp_path))
    assert result.agreement == pytest.approx(7 / 8, abs=0.03)  # labels are interpolated
    assert result.problem is not None
    assert "99.00% are the least" in result.problem


@pytest.mark.parametrize(
    ("precision", "target", "flavour", "limit"),
    [
        ("fp32", "tensorrt", None, 1 - MARGIN["fp32"]),
        ("fp16", "tensorrt", None, 0.9997 - MARGIN["fp16"]),
        ("int8", "cpu", None, 0.997 - MARGIN["int8"]),
        ("int8", "openvino", None, 0.997 - MARGIN["int8"]),
        ("int8", "tensorrt", None, 0.9962 - MARGIN["int8"]),
        ("int8", "cpu", "s8", 0.9962 - MARGIN["int8"]),
        ("mixed", "tensorrt-rtx", None, 0.9 - MARGIN["mixed"]),
        ("mixed", "cpu", None, 1 - MARGIN["mixed"]),  # not counted: as if it were exact
    ],
)
def test_the_limit_is_what_the_build_counted_less_a_margin(
    tmp_path: Path, precision: str, target: str, flavour: str | None, limit: float
) -> None:
    session = FunctionSession(precision=precision, target=target)
    assert golden_limit(bundle(tmp_path), session, flavour) == pytest.approx(limit)


def test_no_build_excuses_an_engine_that_is_of_no_use(tmp_path: Path) -> None:
    made = bundle(tmp_path, {"int8_s8": 0.0})
    session = FunctionSession(changed(6 / 8), "int8", "tensorrt")
    assert golden_limit(made, session) == LEAST
    assert golden_test(session, made).problem is not None


@pytest.mark.parametrize("counted", ["all", None, [1], {}, float("nan"), 2, -1])
def test_a_count_that_is_none_is_refused(tmp_path: Path, counted: Any) -> None:
    session = FunctionSession(precision="fp16")
    made = bundle(tmp_path)
    forged = replace(made.manifest, provenance={"golden_agreement": {"fp16": counted}})
    with pytest.raises(Refused, match="golden_agreement of fp16"):
        golden_limit(Bundle(made.root, forged), session)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (lambda frame: network(255 - frame), "% of the pixels"),
        (lambda frame: network(np.roll(frame, 4, 1)), "% of the pixels"),
        (lambda frame: network(frame)[::-1], "% of the pixels"),
        (lambda frame: np.zeros((2, 8, 12), np.float32), "% of the pixels"),
        (lambda frame: np.full((2, 8, 12), np.nan, np.float32), "golden frame 0: .*NaN"),
        (lambda frame: np.full((2, 8, 12), np.inf, np.float32), "infinite"),
        (lambda frame: network(frame)[:, :4], r"logits \[1, 2, 4, 12\] instead of \[1, 2, 8, 12"),
    ],
    ids=["inverted", "shifted", "classes", "constant", "nan", "infinite", "shape"],
)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_wrong_engines_are_told(
    tmp_path: Path, wrong: Network, problem: str, precision: str
) -> None:
    session = FunctionSession(wrong, precision, "tensorrt")
    with pytest.raises(Refused, match=f"fails its self-test: .*{problem}.*: python again"):
        require_golden(session, bundle(tmp_path), "python again")


def test_a_bundle_without_golden_frames_tests_nothing_and_says_so(tmp_path: Path) -> None:
    result = golden_test(FunctionSession(), bundle(tmp_path, golden=0))
    assert result.problem == "the bundle has no golden frames to test it on"
