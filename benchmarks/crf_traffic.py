"""How many bytes an iteration of the dense CRF must move, and how fast this machine moves bytes.

With N pixels, C classes padded to P floats, M vertices of the appearance lattice (5-D: 6 corners a
pixel, 6 axes) and S of the smoothness lattice (2-D: 3 and 3), one iteration of the C++ core

    streams  N (4 P + 9 (2 + 4))                    the unary, and each corner's number and weight
    passes   4 P (M (4 + 2 * 6) + S (4 + 2 * 3))    over the vertices: splat and merge write, merge
             + 4 (6 M + 3 S)                        and slice read, the blur reads and writes along
                                                    each axis, led by a list of vertices

It is a little more where tiles share vertices, and less where a vertex has no neighbour on an axis,
which the blur then skips. One iteration of the CUDA kernels (P: to 4 floats)

    streams  N (12 P + 9 (8 + 8) + 1)               the unary, Q read and written, the corners by
                                                    vertex and by pixel, labels
    passes   4 P (M (1 + 4 * 6) + S (1 + 4 * 3))    the splat writes, the blur reads three and
             + 8 (6 M + 3 S) + 9 * 8 P N            writes one along each axis, led by neighbours;
                                                    splat and slice gather a row per corner
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.crf_cases import Frame, Size
from benchmarks.crf_row import Traffic
from crf.cuda_lattice import ROOM
from crf.permutohedral import Lattice
from engines._native import simd_levels
from engines.device import Kernels, open_device
from engines.kernels import KernelSource
from engines.spec import CrfParams

Floats = NDArray[np.float32]

LANES = {"baseline": 4, "avx2": 8, "avx512": 16}  # floats of a vector, crf/native/simd.h
TRIAD_FLOATS = 1 << 25  # of an array: 128 MiB, more than a last-level cache
FILL_FLOATS = 1 << 27
RUNS = 5


def vertices(frame: Frame, params: CrfParams) -> tuple[int, int]:
    """Vertices of the appearance and the smoothness lattice; 0 for a term of weight 0."""
    size = frame.shape[:2]
    smoothness = smoothness_vertices(size, params.sigma_gamma) if params.w2 else 0
    if not params.w1:
        return 0, smoothness
    where = positions(size) / np.float32(params.sigma_alpha)
    colour = frame.reshape(-1, 3).astype(np.float32) / np.float32(params.sigma_beta)
    return Lattice(np.concatenate([where, colour], axis=1)).size, smoothness


@lru_cache(maxsize=16)
def smoothness_vertices(size: tuple[int, int], sigma: float) -> int:
    """The same for all frames of a size."""
    return Lattice(positions(size) / np.float32(sigma)).size


def positions(size: tuple[int, int]) -> Floats:
    """x and y of each pixel, float32 [N, 2]."""
    return np.indices(size)[::-1].reshape(2, -1).T.astype(np.float32)


def traffic(
    backend: str,
    size: Size,
    found: tuple[int, int],
    gb_s: float,
    iteration_ms: float | None,
) -> Traffic:
    """Of one iteration, with `found` vertices and a memory bandwidth of `gb_s`."""
    count = cuda_bytes if backend == "cuda" else cpu_bytes
    streamed, passed = count(size.width * size.height, size.classes, *found)
    return Traffic(
        *found,
        streamed_mb=streamed / 1e6,
        tables_mb=passed / 1e6,
        bound_ms=streamed / gb_s / 1e6,
        gb_s=(streamed + passed) / iteration_ms / 1e6 if iteration_ms else None,
    )


def cpu_bytes(pixels: int, classes: int, appearance: int, smoothness: int) -> tuple[int, int]:
    """Bytes that an iteration of the C++ core streams, and those of its passes over vertices."""
    row = 4 * padded(classes, LANES[simd_levels()[-1]])
    streamed = pixels * (row + 6 * corners(appearance, smoothness))
    lists = 4 * (6 * appearance + 3 * smoothness)
    return streamed, row * (16 * appearance + 10 * smoothness) + lists


def cuda_bytes(pixels: int, classes: int, appearance: int, smoothness: int) -> tuple[int, int]:
    """The same of the CUDA kernels."""
    row, entries = 4 * padded(classes, 4), pixels * corners(appearance, smoothness)
    streamed = pixels * (3 * row + 1) + 16 * entries
    neighbours = 8 * (6 * appearance + 3 * smoothness)
    return streamed, row * (25 * appearance + 13 * smoothness + 2 * entries) + neighbours


def padded(classes: int, lanes: int) -> int:
    """Classes rounded up to whole vectors."""
    return -(-classes // lanes) * lanes


def corners(appearance: int, smoothness: int) -> int:
    """Of a pixel, in the lattices that there are."""
    return 6 * bool(appearance) + 3 * bool(smoothness)


@cache
def triad_gb_s(threads: int) -> float:
    """Memory bandwidth in GB/s: a = b + s c, each thread on its own part of the arrays; best of 5.

    NumPy takes two passes, a = s c and a = a + b, which move five arrays. As in STREAM, what a
    write reads first is not counted.
    """
    a, b, c = (np.ones((threads, TRIAD_FLOATS // threads), np.float32) for _ in range(3))

    def part(thread: int) -> None:
        np.multiply(c[thread], np.float32(3), out=a[thread])
        np.add(a[thread], b[thread], out=a[thread])

    seconds = []
    with ThreadPoolExecutor(threads) as team:
        for _ in range(RUNS):
            started = time.perf_counter()
            list(team.map(part, range(threads)))
            seconds.append(time.perf_counter() - started)
    return 5 * a.nbytes / min(seconds) / 1e9


@cache
def cuda_fill_gb_s() -> float:
    """Memory bandwidth of the GPU in GB/s: writing 512 MiB with a kernel of the CRF; best of 5."""
    device = open_device()
    array = device.allocate(4 * FILL_FLOATS)
    kernels = Kernels(device, KernelSource.read(ROOM / "rows.cu"))
    milliseconds = []
    for _ in range(1 + RUNS):  # the first one compiles
        before = device.record()
        kernels("fill_ones", FILL_FLOATS, array, FILL_FLOATS)
        after = device.record()
        after.synchronise()
        milliseconds.append(after.milliseconds_since(before))
    device.close()
    return 4 * FILL_FLOATS / min(milliseconds[1:]) / 1e6
