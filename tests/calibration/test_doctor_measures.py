"""What the doctor measures, each against a slow twin or a made case."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto
from PIL import Image, ImageFilter

from calibration.frame_checks.coverage import Coverage
from calibration.frame_checks.duplicates import NEAR, distances, fingerprint, group, leak_findings
from calibration.frame_checks.examination import examine, fitted, quick_check, set_findings
from calibration.frame_checks.extremes import Extremes, coverage_curve, enough, extremes
from calibration.frame_checks.faithful_counts import scores_by_count
from calibration.frame_checks.findings import Finding, listed
from calibration.frame_checks.looks import laplacian_variance, look_at, look_findings
from calibration.frame_checks.subset import at_least, covering, ends
from calibration.graphs.execution import load
from calibration.ranges.observe import expose, quantizable
from engines.failures import Refused
from scenes.dataset import IGNORE, Scene
from scenes.street import StreetCamera

Frame = NDArray[np.uint8]


@pytest.fixture(scope="module")
def streets() -> list[Frame]:
    """Sixteen frames [96, 128, 3], four of each of four streets."""
    cameras = [StreetCamera((96, 128), seed) for seed in range(4)]
    return [camera.scene(100 * moment).frame for moment in range(4) for camera in cameras]


def changed(frame: Frame, change: Callable[[Image.Image], Image.Image]) -> Frame:
    return np.asarray(change(Image.fromarray(frame)))


def by_code(findings: list[Finding]) -> dict[str, Finding]:
    assert len({finding.code for finding in findings}) == len(findings)
    return {finding.code: finding for finding in findings}


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    luma = np.random.default_rng(0).uniform(0, 255, (7, 9)).astype(np.float32)
    responses = [
        4 * luma[y, x] - luma[y - 1, x] - luma[y + 1, x] - luma[y, x - 1] - luma[y, x + 1]
        for y in range(1, 6)
        for x in range(1, 8)
    ]
    assert laplacian_variance(luma) == pytest.approx(float(np.var(responses)), rel=1e-4)
    assert laplacian_variance(luma[:2]) == 0


@pytest.mark.parametrize(
    ("code", "change"),
    [
        pytest.param("blank", lambda frame: np.full_like(frame, 255), id="white"),
        pytest.param("blank", lambda frame: np.zeros_like(frame), id="black"),
        pytest.param("dark", lambda frame: frame // 8, id="dark"),
        pytest.param("bright", lambda frame: 255 - frame // 12, id="bright"),
        pytest.param(
            "blurred",
            lambda frame: changed(frame, lambda p: p.filter(ImageFilter.GaussianBlur(4))),
            id="blurred",
        ),
        pytest.param(
            "grey", lambda frame: changed(frame, lambda p: p.convert("L").convert("RGB")), id="grey"
        ),
    ],
)
def test_a_quick_check_names_what_is_wrong(
    code: str, change: Callable[[Frame], Frame], streets: list[Frame]
) -> None:
    assert quick_check(streets) == []
    frames = [*streets[:5], change(streets[5]), *streets[6:]]
    finding = by_code(quick_check(frames))[code]
    assert finding.frames == ("#5",)
    assert "#5" in finding.message
    assert "1 of 16 frames is" in finding.message


def test_a_frame_unlike_all_others_is_odd(streets: list[Frame]) -> None:
    calm = [np.clip(96 + frame // 4, 0, 255).astype(np.uint8) for frame in streets]
    odd = by_code(quick_check([*calm, streets[0]]))["odd"]
    assert odd.frames == ("#16",)
    assert "contrast" in odd.message or "sharpness" in odd.message


def test_one_light_is_a_warning_of_the_set(streets: list[Frame]) -> None:
    looks = [look_at(str(index), frame) for index, frame in enumerate(streets)]
    levelled = [
        look_at(look.name, np.clip(frame * (100 / look.brightness), 0, 255).astype(np.uint8))
        for look, frame in zip(looks, streets, strict=True)
    ]
    found = by_code(look_findings(levelled))
    assert found["one-light"].frames == ()
    assert "one-light" not in by_code(look_findings(looks))


def test_another_encoding_is_nearly_the_same(streets: list[Frame]) -> None:
    first = fingerprint("a", streets[0])
    buffer = io.BytesIO()
    Image.fromarray(streets[0]).save(buffer, "JPEG", quality=60)
    encoded = fingerprint("b", np.asarray(Image.open(buffer)))
    assert encoded.digest != first.digest
    assert distances(encoded.bits, first.bits[None])[0] <= NEAR
    others = np.array([fingerprint("c", frame).bits for frame in streets[1:]])
    assert distances(first.bits, others).min() > NEAR
    leaks = by_code(leak_findings([first, encoded], [first], "val"))
    assert (leaks["leak"].frames, leaks["near-leak"].frames) == (("a",), ("b",))
    assert leak_findings([fingerprint("c", streets[3])], [first, encoded], "val") == []


def test_equal_bytes_of_another_shape_are_no_copy() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
    assert fingerprint("a", frame).digest != fingerprint("b", frame.reshape(48, 32, 3)).digest


def test_groups_count_what_is_different(streets: list[Frame]) -> None:
    shifted = [np.clip(frame.astype(int) + 3, 0, 255).astype(np.uint8) for frame in streets[:4]]
    prints = [fingerprint(str(i), f) for i, f in enumerate([*streets[:4], *shifted, streets[0]])]
    groups = group(prints)
    assert groups.copies == ("8",)
    assert groups.near == ("4", "5", "6", "7")
    assert groups.distinct == 4
    assert len(groups.nearest) == 8
    assert groups.nearest[:3].min() > NEAR >= groups.nearest[3:].max()
    empty = group([])
    assert (empty.distinct, empty.copies, len(empty.nearest)) == (0, (), 0)


def test_a_video_is_worth_few_frames(streets: list[Frame]) -> None:
    frames = [np.clip(frame.astype(int) + i, 0, 255) for frame in streets[:3] for i in range(4)]
    found = by_code(quick_check([frame.astype(np.uint8) for frame in frames]))
    assert len(found["near-duplicates"].frames) == 9
    assert "worth 3 different frames" in found["near-duplicates"].message


def test_coverage_counts_pixels_and_frames() -> None:
    coverage = Coverage(("sky", "road", "sign", "cat"))
    for index in range(8):
        labels = np.zeros((2, 5), np.uint8)
        labels[1] = 1
        labels[0, 0] = IGNORE
        labels[0, 1] = 2 if index < 2 else 0
        coverage.add(labels)
    shares = {share.name: share for share in coverage.shares()}
    assert shares["road"].pixels == pytest.approx(100 * 40 / 72)
    assert [shares[name].frames for name in shares] == [8, 8, 2, 0]
    found = by_code(coverage.findings())
    assert "no frame shows cat" in found["class-missing"].message
    assert "sign in 2 of 8 frames" in found["class-rare"].message
    blank = Coverage(("sky",))
    blank.add(np.full((2, 2), IGNORE, np.uint8))
    assert (blank.shares(), blank.findings()) == ([], [])


def test_extremes_are_those_of_every_value(miniature: ModelProto, frames: list[Frame]) -> None:
    found = extremes(miniature, frames[:3])
    assert list(found.tensors) == quantizable(miniature)
    session = load(expose(miniature, found.tensors))
    for index, frame in enumerate(frames[:3]):
        values = session.run(list(found.tensors), {"frames": frame[None]})
        assert found.low[index] == pytest.approx([value.min() for value in values])
        assert found.high[index] == pytest.approx([value.max() for value in values])


def made(low: list[list[float]], high: list[list[float]]) -> Extremes:
    names = tuple(str(index) for index in range(len(low[0])))
    return Extremes(names, np.array(low, np.float32), np.array(high, np.float32))


def test_few_frames_cover_and_none_is_idle() -> None:
    random = np.random.default_rng(1)
    found = Extremes(
        tuple("abcd"),
        random.normal(-5, 1, (12, 4)).round(1).astype(np.float32),
        random.normal(5, 1, (12, 4)).round(1).astype(np.float32),
    )
    chosen, reaches = covering(found), ends(found)
    assert reaches[chosen].any(axis=0).all()
    least = next(
        count
        for count in range(1, 13)
        if any(reaches[list(some)].any(axis=0).all() for some in combinations(range(12), count))
    )
    assert least <= len(chosen) <= least + 1
    assert chosen == covering(found)


def test_one_frame_may_cover_all() -> None:
    found = made([[-1.0, 0.0], [-3.0, 0.0], [-2.99, 0.0]], [[1.0, 2.0], [4.0, 6.0], [4.0, 5.0]])
    assert covering(found) == [1]


def test_a_build_asks_for_more_frames() -> None:
    assert at_least([7, 2], 40, 6) == [7, 2, 0, 14, 27, 39]
    assert at_least([1, 0], 3, 16) == [1, 0, 2]
    assert at_least([1, 0], 30, 2) == [1, 0]


def test_the_curve_rises_to_all(miniature: ModelProto, frames: list[Frame]) -> None:
    curve = coverage_curve(extremes(miniature, frames))
    assert len(curve) == len(frames)
    assert all(a <= b for a, b in pairwise(curve))
    assert curve[-1] == pytest.approx(1)
    assert enough(np.array([0.5, 0.985, 0.99, 1.0])) == 2
    assert enough(np.array([0.5, 0.9, 0.99, 1.0])) is None
    same = made([[-1.0]] * 6, [[1.0]] * 6)
    assert enough(coverage_curve(same)) == 1


def test_a_tensor_that_never_moves_does_not_hide_that_others_do() -> None:
    dead = made([[0.0, -k] for k in range(20)], [[0.0, k] for k in range(20)])
    curve = coverage_curve(dead)
    assert curve[-1] == 1
    assert enough(curve) is None
    assert covering(dead) == [19]


class Listed:
    """A dataset of frames in memory."""

    classes = ("thing",)
    palette = ((0, 0, 0),)

    def __init__(self, frames: list[Frame]) -> None:
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Scene:
        frame = self._frames[index]
        return Scene(str(index), frame, np.zeros(frame.shape[:2], np.uint8))

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(len(self)))


def test_scores_by_count_hold_frames_out(miniature: ModelProto, frames: list[Frame]) -> None:
    dataset = Listed([*frames, *frames])
    scores = scores_by_count(miniature, dataset, range(16), (32, 48))
    assert [score.frames for score in scores] == [2, 3, 6, 12]
    assert all(50 < score.fidelity.agreement <= 100 for score in scores)
    with pytest.raises(Refused, match="--fidelity needs 16 frames"):
        scores_by_count(miniature, dataset, range(15), (32, 48))


def test_other_shapes_are_told() -> None:
    frames = [np.zeros((40, 60, 3), np.uint8)] * 3 + [np.zeros((60, 40, 3), np.uint8)]
    examination = examine(Listed(frames), range(4), None)
    assert examination.sizes == [(40, 60)] * 3 + [(60, 40)]
    alone = by_code(set_findings(examination, None))["stretched"]
    assert (alone.frames, "than most, 60x40" in alone.message) == (("3",), True)
    model = by_code(set_findings(examination, (50, 50)))["stretched"]
    assert model.frames == ("0", "1", "2", "3")
    assert "the model's input, 50x50 (40x60, 60x40;" in model.message


def test_frames_are_measured_as_a_model_would_see_them() -> None:
    small, large = np.zeros((40, 60, 3), np.uint8), np.zeros((400, 300, 3), np.uint8)
    assert fitted(small, None) is small
    assert fitted(large, None).shape == (360, 480, 3)
    assert fitted(small, (20, 30)).shape == (20, 30, 3)


def test_lists_end_with_how_many_more() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(list("abcde")) == "a, b, c and 2 more"
