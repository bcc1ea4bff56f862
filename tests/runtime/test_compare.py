"""Two engines on every frame: each side is what a stream of that engine alone gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from crf.temporal import TemporalEvidence
from engines.bundle import Bundle
from engines.failures import UsageError
from engines.session import open_session
from engines.spec import CrfParams
from runtime.agreement import Agreement
from runtime.compare import ComparePath
from runtime.cpu_path import CpuPath
from runtime.engine_name import EngineName, parse_pair
from runtime.frame_path import Labels
from runtime.refiner import CrfRefiner
from runtime.source import Frame, Image
from runtime.split_view import SplitView
from scenes.street import StreetCamera
from tests.runtime.damaged_bundle import with_int8

DAMAGED = "Fence"
CRF = CrfParams(w1=2, sigma_alpha=30, sigma_beta=10, w2=1, sigma_gamma=2, iterations=2)


@pytest.fixture(scope="module")
def pair(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Two engines that differ in a few pixels."""
    return Bundle.open(with_int8(tiny_bundle, tmp_path_factory.mktemp("pair") / "bundle"))


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """A drive at twice the model's size, with a cut in the middle."""
    camera = StreetCamera((192, 256), seed=4)
    numbers = [*range(6), *range(400, 406)]
    return [Frame(camera.scene(n).frame, i, 0.0, i / 25) for i, n in enumerate(numbers)]


class Spy(SplitView):
    """Keeps what it is given to draw."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle.spec, 0.5)
        self.sides: list[tuple[Labels, Labels]] = []
        self.words: list[tuple[str, str, str]] = []

    def draw(
        self, frame: Image, first: Labels, second: Labels, titles: tuple[str, str], status: str
    ) -> Image:
        self.sides.append((first.copy(), second.copy()))
        self.words.append((*titles, status))
        return super().draw(frame, first, second, titles, status)


@pytest.fixture
def make_path(pair: Bundle) -> Callable[..., CpuPath]:
    """A path with evidence of earlier frames and a CRF of its own, as a plain stream has."""

    def make(session: object, temporal: bool, crf: bool) -> CpuPath:
        refiner = CrfRefiner(CRF, len(pair.spec.classes), "exact") if crf else None
        return CpuPath(session, TemporalEvidence() if temporal else None, refiner)  # type: ignore[arg-type]

    return make


def plain(path: CpuPath, frames: list[Frame]) -> list[NDArray[np.uint8]]:
    """The slow twin: a stream of one engine alone."""
    return [path.label(frame, path.infer(path.prepare(frame))) for frame in frames]


@pytest.mark.parametrize(("temporal", "crf"), [(False, False), (True, False), (True, True)])
def test_each_side_is_a_plain_stream_of_its_engine(
    pair: Bundle,
    frames: list[Frame],
    make_path: Callable[..., CpuPath],
    temporal: bool,
    crf: bool,
) -> None:
    spy, agreement = Spy(pair), Agreement(pair.spec.classes, ("fp32", "int8"))
    with (
        open_session(pair, "fp32", "cpu", 1) as first,
        open_session(pair, "int8", "cpu", 1) as second,
    ):
        twins = [plain(make_path(session, temporal, crf), frames) for session in (first, second)]
        paths = [make_path(session, temporal, crf) for session in (first, second)]
        compared = ComparePath(paths[0], paths[1], agreement, spy)
        shares = []
        for number, frame in enumerate(frames):
            inferred = compared.infer(compared.prepare(frame))
            labels = compared.label(frame, inferred)
            np.testing.assert_array_equal(labels, twins[0][number])
            picture = compared.draw(frame, inferred, labels, 25, 0.04)
            assert picture is not None
            assert picture.shape == (192, 512, 3)
            shares.append(float((twins[0][number] == twins[1][number]).mean()))
            assert agreement.latest is not None
            assert agreement.latest.share == shares[-1]
    for number, (left, right) in enumerate(spy.sides):
        np.testing.assert_array_equal(left, twins[0][number])
        np.testing.assert_array_equal(right, twins[1][number])
    assert agreement.mean == pytest.approx(np.mean(shares))
    assert 0.5 < agreement.mean < 1  # they do differ
    assert "99 " not in spy.words[0][2]
    assert spy.words[-1][0].startswith("A   fp32   ")
    assert spy.words[-1][1].startswith("B   int8   ")


def test_stages_of_both_are_timed_apart_and_cost_no_overhead(
    pair: Bundle, frames: list[Frame], make_path: Callable[..., CpuPath]
) -> None:
    with (
        open_session(pair, "fp32", "cpu", 1) as first,
        open_session(pair, "int8", "cpu", 1) as second,
    ):
        paths = [make_path(session, True, False) for session in (first, second)]
        compared = ComparePath(paths[0], paths[1], Agreement(pair.spec.classes), None)
        for frame in frames:
            inferred = compared.infer(compared.prepare(frame))
            assert compared.draw(frame, inferred, compared.label(frame, inferred), 25, 0) is None
    counts = {name: times.count for name, times in compared.timings.stages.items()}
    both = ("infer", "infer b", "temporal", "temporal b", "labels", "labels b")
    assert counts == dict.fromkeys(("prepare", *both, "agreement"), len(frames))
    # What `Stream.overhead_core_ms` leaves out as the engines' and the evidence's own.
    assert set(compared.timings.cpu) == {"prepare", "infer", "temporal", "labels", "agreement"}


def test_a_class_that_an_engine_lost_is_named(
    tiny_bundle: Path, tmp_path: Path, frames: list[Frame]
) -> None:
    bundle = Bundle.open(with_int8(tiny_bundle, tmp_path / "damaged", DAMAGED))
    agreement = Agreement(bundle.spec.classes)
    with (
        open_session(bundle, "fp32", "cpu", 1) as first,
        open_session(bundle, "int8", "cpu", 1) as second,
    ):
        path = ComparePath(CpuPath(first), CpuPath(second), agreement, None)
        for frame in frames:
            path.label(frame, path.infer(path.prepare(frame)))
    found = agreement.to_json()
    assert found["worst_class"] == DAMAGED
    assert found["agreement"]["mean"] < 90
    rows = {row["name"]: row for row in found["per_class"]}
    assert rows[DAMAGED]["agreement"] == 0
    assert rows[DAMAGED]["b"] == 0 < rows[DAMAGED]["a"]
    assert (found["a"], found["b"]) == ("a", "b")


def test_engines_are_named_by_precision_and_target() -> None:
    assert parse_pair("fp32,int8") == (EngineName("fp32", "auto"), EngineName("int8", "auto"))
    assert parse_pair("int8@cpu, int8@openvino")[1] == EngineName("int8", "openvino")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fp32", "two engines"),
        ("fp32,fp16,int8", "two engines"),
        ("fp32,int", "did you mean int8?"),
        ("fp32,int8@opnvino", "did you mean openvino?"),
        ("fp32,int8@tensorrt", "python export/verify.py"),
        ("fp32,int8@", "no target ''"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(UsageError, match="--compare") as error:
        parse_pair(text)
    assert message in str(error.value)
