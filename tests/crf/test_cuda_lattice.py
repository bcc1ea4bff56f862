"""The lattice that the CUDA kernels build, structure by structure, against the oracle's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crf.cuda_lattice import CHUNK, CudaLattice, Packing
from crf.permutohedral import Lattice
from engines.device import Buffer
from engines.failures import UsageError
from tests.host_shim.host_device import HostDevice

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]


class Built:
    """A lattice of a frame of noise or of one colour, and what the device holds of it."""

    def __init__(self, frame: NDArray[np.uint8], alpha: float, beta: float, shim: HostDevice):
        height, width = frame.shape[:2]
        self.pixels, self.shim = height * width, shim
        most = [(width - 1) / alpha, (height - 1) / alpha, *[255 / beta] * 3]
        self.lattice = CudaLattice(shim, Packing.of(most), self.pixels)
        colours = shim.allocate(frame.nbytes)
        shim.upload(frame, colours)
        self.lattice.build("embed_colours", colours, width, self.pixels, alpha, beta)
        self.lattice.gather()
        positions = np.indices((height, width))[::-1].reshape(2, -1).T.astype(np.float32)
        colour = frame.reshape(-1, 3).astype(np.float32)
        features = [positions / np.float32(alpha), colour / np.float32(beta)]
        self.oracle = Lattice(np.concatenate(features, axis=1))

    def read(self, buffer: Buffer, count: int, dtype: Any = np.int32) -> NDArray[Any]:
        array = np.empty(count, dtype)
        self.shim.download(buffer, array)
        return array


@pytest.fixture(params=["noise", "constant", "wide"])
def built(request: pytest.FixtureRequest, host_device: Callable[..., HostDevice]) -> Built:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (37, 41, 3)).astype(np.uint8)
    if request.param == "constant":
        frame[:] = 127
    sigmas = (1e4, 1e4) if request.param == "wide" else (10.0, 4.0)
    return Built(frame, *sigmas, host_device(3))


def test_vertices_and_weights_are_the_oracles(built: Built) -> None:
    """Vertex for vertex under some renumbering, weight for weight to the bit."""
    lattice = built.lattice
    assert lattice.vertices == built.oracle.size
    ours = built.read(lattice.entry_vertex, lattice.entries).reshape(built.pixels, -1).T
    theirs = built.oracle._corners
    renamed = np.full(lattice.vertices, -1)
    renamed[ours] = theirs
    np.testing.assert_array_equal(renamed[ours], theirs)
    weights = built.read(lattice.entry_weight, lattice.entries, np.float32)
    np.testing.assert_array_equal(weights.reshape(built.pixels, -1).T, built.oracle._weights)


def test_neighbours_are_the_oracles(built: Built) -> None:
    lattice, count = built.lattice, built.lattice.vertices
    ours = built.read(lattice.entry_vertex, lattice.entries).reshape(built.pixels, -1).T
    renamed = np.full(count + 1, count)  # -1, the last, stays "none", which is M in the oracle
    renamed[ours] = built.oracle._corners
    for axis, pair in enumerate(built.oracle._neighbours):
        for buffer, theirs in zip((lattice.before, lattice.after), pair, strict=True):
            mine = built.read(buffer, (axis + 1) * count)[axis * count :]
            np.testing.assert_array_equal(renamed[mine], theirs[renamed[:count]])


def test_rows_hold_each_vertexs_entries_in_pixel_order(built: Built) -> None:
    lattice = built.lattice
    vertex = built.read(lattice.entry_vertex, lattice.entries)
    weight = built.read(lattice.entry_weight, lattice.entries, np.float32)
    order = np.argsort(vertex, kind="stable")
    starts = np.searchsorted(vertex[order], np.arange(lattice.vertices + 1))
    np.testing.assert_array_equal(built.read(lattice.row_start, lattice.vertices + 1), starts)
    np.testing.assert_array_equal(built.read(lattice.row_pixel, lattice.entries), order // 6)
    row_weight = built.read(lattice.row_weight, lattice.entries, np.float32)
    np.testing.assert_array_equal(row_weight, weight[order])


def test_chunks_cover_each_row_once(built: Built) -> None:
    lattice = built.lattice
    chunks, long_rows = built.read(lattice.counters, 4)[2:]
    assert chunks <= lattice.chunks
    first, end, target = (
        built.read(buffer, lattice.chunks)[:chunks]
        for buffer in (lattice.chunk_first, lattice.chunk_end, lattice.chunk_target)
    )
    order = np.argsort(first)
    np.testing.assert_array_equal(first[order][1:], end[order][:-1])
    assert (first.min(), end.max()) == (0, lattice.entries)
    assert (end - first).max() <= CHUNK
    start = built.read(lattice.row_start, lattice.vertices + 1)
    length = np.diff(start)
    row = np.searchsorted(start, first, side="right") - 1
    np.testing.assert_array_equal(target[target >= 0], row[target >= 0])
    np.testing.assert_array_equal(target >= 0, length[row] <= CHUNK)
    partials = ~target[target < 0]
    assert len(np.unique(partials)) == len(partials)
    assert partials.max(initial=0) <= 2 * lattice.entries // CHUNK
    listed = built.read(lattice.long_row, lattice.entries // CHUNK + 1)[:long_rows]
    np.testing.assert_array_equal(np.sort(listed), np.flatnonzero(length > CHUNK))


def test_more_than_two_digits_are_sorted(host_device: Callable[..., HostDevice]) -> None:
    """Over 65536 vertices: three passes of the sort."""
    frame = np.random.default_rng(1).integers(0, 256, (110, 110, 3)).astype(np.uint8)
    built = Built(frame, 10.0, 3.0, host_device(5))
    assert built.lattice.vertices > 2**16
    test_rows_hold_each_vertexs_entries_in_pixel_order(built)


@given(
    st.lists(st.floats(0, 300), min_size=5, max_size=5)
    | st.lists(st.floats(0, 5000), min_size=2, max_size=2),
    st.integers(0, 2**32 - 1),
)
def test_keys_of_any_points_within_the_extents_are_distinct(
    extents: list[float], seed: int
) -> None:
    """All corners and their neighbours stay in their fields of the key, at the extents too."""
    packing = Packing.of(extents)
    d = len(extents)
    rng = np.random.default_rng(seed)
    share = np.concatenate([rng.random((20, d)), rng.integers(0, 2, (20, d))])
    scaled = (share * extents).astype(np.float32) * packing.scale
    after = np.cumsum(scaled[:, ::-1], axis=1)[:, ::-1]  # of this axis and those after it
    behind = np.concatenate([np.zeros((len(share), 1)), np.arange(1, d) * scaled[:, :-1]], axis=1)
    elevated = after - behind  # of the first d coordinates
    reach = 2 * d + 1  # a corner is less than d + 1 away, its neighbour d more
    fields = np.append(packing.stride[1:], 2**63 - 1) // packing.stride
    assert (elevated - reach >= packing.low).all()
    assert (elevated + reach - packing.low < fields).all()


def test_extents_of_4k_fit_and_more_are_refused() -> None:
    Packing.of([4095, 2159, 255, 255, 255])
    with pytest.raises(UsageError, match="63 bits"):
        Packing.of([4095, 4095, 511, 511, 511])
    with pytest.raises(UsageError, match="32768 lattice steps"):
        Packing.of([16383, 8191])
