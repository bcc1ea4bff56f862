"""What verification measures with, each against a slow twin."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from onnx import helper, numpy_helper

from calibration.graphs.wiring import Wiring
from calibration.sqnr import decibel
from export.atrous_oracle import atrous_convolution
from export.verification.difference import Difference, Ring, ring_share, strips
from export.verification.onnx_taps import CHUNK, chunks
from export.verification.oracle import limits_of
from export.verification.places import Place, block_of, find_places
from export.verification.windows import Convolution, largest_difference, windows
from tests.export.miniature import ATROUS, POINT, SIZE, miniature

RNG = np.random.default_rng(0)


def pair(noise: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    x = RNG.normal(1.0, 2.0, (3, 7, 9)).astype(np.float32)
    return x, (x + RNG.normal(0, noise, x.shape)).astype(np.float32)


def test_sums_over_frames_are_those_of_all_frames_at_once() -> None:
    ring: Ring = (2, 1, 0, 3)
    difference = Difference(ring)
    pairs = [pair(), pair(0.1)]
    for x, q in pairs:
        difference.add(x, q)
    x, q = (np.stack(arrays).astype(np.float64) for arrays in zip(*pairs, strict=True))
    error, noise = difference.error, q - x
    assert error.sqnr_db == pytest.approx(decibel((x**2).sum(), (noise**2).sum()), abs=1e-3)
    cosine = (x * q).sum() / np.sqrt((x**2).sum() * (q**2).sum())
    assert error.cosine == pytest.approx(cosine, abs=1e-6)
    assert error.max_abs == pytest.approx(np.abs(noise).max(), rel=1e-5)
    assert error.range == pytest.approx(x.max() - x.min(), rel=1e-6)
    border = np.ones(x.shape[2:], bool)
    border[2:, 1:-3] = False
    expected = decibel((x[..., border] ** 2).sum(), (noise[..., border] ** 2).sum())
    assert error.border_db == pytest.approx(expected, abs=1e-3)
    assert error.finite


@pytest.mark.parametrize(
    "ring", [(0, 0, 0, 0), (1, 1, 1, 1), (0, 0, 2, 0), (18,) * 4, (5, 0, 5, 0)]
)
def test_a_ring_is_the_positions_near_an_edge_each_once(ring: Ring) -> None:
    height, width = 7, 9
    seen = np.zeros((height, width), int)
    for rows, columns in strips((height, width), ring):
        seen[rows, columns] += 1
    expected = np.zeros_like(seen)
    for y, x in np.ndindex(height, width):
        near = (y < ring[0], x < ring[1], y >= height - ring[2], x >= width - ring[3])
        expected[y, x] = any(near)
    np.testing.assert_array_equal(seen, expected)
    assert ring_share((height, width), ring) == pytest.approx(expected.mean())


def test_the_slope_tells_weights_that_are_too_large_from_rounding() -> None:
    rounding, scaled = Difference(), Difference()
    for _ in range(8):
        x = RNG.normal(0, 1, (16, 24, 24)).astype(np.float32)
        bias = np.linspace(-20, 20, 16, dtype=np.float32)[:, None, None]  # hides it from the SQNR
        step = np.float32(0.05)
        rounding.add(x + bias, np.round((x + bias) / step) * step)
        scaled.add(x + bias, np.float32(1.05) * x + bias)
    assert rounding.error.slope == pytest.approx(0, abs=2e-3)
    assert scaled.error.slope == pytest.approx(0.05, abs=1e-3)
    assert scaled.error.sqnr_db is not None
    assert scaled.error.sqnr_db > 45


def test_values_that_are_not_finite_are_told() -> None:
    x, q = pair()
    q[0, 0, 0] = np.nan
    difference = Difference((1, 1, 1, 1))
    difference.add(x, q)
    assert not difference.error.finite
    assert difference.error.sqnr_db is None
    with pytest.raises(ValueError, match="nothing was compared"):
        _ = Difference().error


def test_a_constant_map_has_no_slope() -> None:
    difference = Difference()
    x = np.ones((4, 1, 1), np.float32)
    difference.add(x, x * 1.05)
    assert difference.error.slope is None


@pytest.mark.parametrize(
    ("size", "rate", "stride", "groups", "padding"),
    [
        ((23, 30), 18, 1, 4, (18, 18, 18, 18)),
        ((45, 70), 1, 2, 1, (1, 1, 1, 1)),
        ((5, 7), 6, 1, 1, (6, 6, 6, 6)),
        ((40, 37), 3, 2, 2, (3, 2, 1, 0)),
    ],
)
def test_windows_are_cut_out_of_the_whole_loop(
    size: tuple[int, int], rate: int, stride: int, groups: int, padding: Ring
) -> None:
    x = RNG.normal(size=(4, *size)).astype(np.float32)
    weight, bias = RNG.normal(size=(8, 4 // groups, 3, 3)), RNG.normal(size=8)
    (whole,) = atrous_convolution(
        x[None], weight, bias, rate=rate, stride=stride, padding=padding, groups=groups
    )
    made = Convolution(x, weight, bias, rate, stride, padding, groups)
    everything = (-np.inf, np.inf)
    difference, positions = largest_difference(made, everything, whole.astype(np.float32))
    assert difference < 1e-5
    assert positions >= min(whole[0].size, 300)
    wrong = whole.astype(np.float32)
    wrong[3, -1, -1] += 1
    assert largest_difference(made, everything, wrong)[0] == pytest.approx(1, abs=1e-5)


def test_windows_cover_small_maps_and_the_corners_of_large_ones() -> None:
    for size in ((23, 30), (1, 1), (16, 40), (90, 120)):
        seen = np.zeros(size, int)
        for rows, columns in windows(size):
            seen[rows.start : rows.stop, columns.start : columns.stop] += 1
        assert seen[[0, 0, -1, -1], [0, -1, 0, -1]].min() >= 1
        if max(size) <= 32:
            assert seen.min() >= 1


def test_places_know_kind_rate_ring_and_pair() -> None:
    places = {place.name: place for place in find_places(miniature())}
    atrous, point = places[ATROUS], places[POINT]
    assert (atrous.kind, atrous.rate, atrous.ring) == ("depthwise", 6, (6, 6, 6, 6))
    assert (atrous.ends, atrous.result) == ("aspp/Relu", "f")
    assert atrous.separable
    assert point.separable
    assert point.border_share == 0
    assert not places["down/Conv"].separable
    assert places["down/Conv"].ring == (1, 1, 1, 1)  # 25 rows of stride 2: both ends are padded
    assert places["classifier/Conv"].result == "logits"
    assert atrous.size == (-(-SIZE[0] // 4), -(-SIZE[1] // 4))


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("backbone.blocks.1.0.conv_pw/Conv", "backbone.blocks.1.0"),
        ("backbone.blocks_3.stack.conv1.conv_dw/Conv", "backbone.blocks_3"),
        ("backbone.layer1.0.conv1/Conv", "backbone.layer1.0"),
        ("backbone.conv_stem/Conv", "backbone.conv_stem"),
        ("aspp.atrous.0.depthwise/Conv", "aspp"),
        ("conv_7", "conv_7"),
    ],
)
def test_blocks_are_units_of_the_trunk_and_parts_of_the_head(name: str, block: str) -> None:
    assert block_of(name) == block


def test_chunks_end_where_blocks_do_and_keep_the_order() -> None:
    sizes = (1, 3, 8, 12, 3, 30, 2)
    names = [f"backbone.blocks.{block}.conv{n}/Conv" for block, n in enumerate(sizes)
             for n in range(n)]  # fmt: skip
    places = [
        Place(name, name, name, "pointwise", 1, block_of(name), (1, 1), (0,) * 4, False)
        for name in names
    ]
    parts = chunks(places)
    assert [place for part in parts for place in part] == places
    for left, right in itertools.pairwise(parts):
        assert len(left) >= CHUNK
        assert left[-1].block != right[0].block


def test_limits_are_those_of_the_activation() -> None:
    constants = {"low": np.float32(0), "high": np.float32(6)}
    nodes = [
        helper.make_node("Clip", ["x", "low", "high"], ["a"]),
        helper.make_node("Relu", ["x"], ["b"]),
        helper.make_node("Add", ["x", "x"], ["c"]),
        helper.make_node("Clip", ["x", "", "high"], ["d"]),
    ]
    tensors = [numpy_helper.from_array(np.array(v), k) for k, v in constants.items()]
    wiring = Wiring(helper.make_model(helper.make_graph(nodes, "g", [], [], tensors)))
    found = [limits_of(node, wiring) for node in nodes]
    assert found == [(0, 6), (0, np.inf), (-np.inf, np.inf), (-np.inf, 6)]
