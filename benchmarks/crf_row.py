"""One line of `benchmarks/crf.py`: a mode of ours against pydensecrf, with what explains it."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.pair import Pair

PEER = "pydensecrf2"


@dataclass(frozen=True)
class Split:
    """Where the time goes, in ms.

    `iteration_ms` is what one more iteration costs: the time of all of them less that of the first
    alone, by how many those are. `build_ms` is the rest: upsampling, unary, lattice, labels. Both
    are None where only one iteration ran.
    """

    iterations: int
    build_ms: float | None
    iteration_ms: float | None


@dataclass(frozen=True)
class PeerSplit:
    """Where pydensecrf's time goes, in ms; `iteration_ms` is `inference` by the iterations."""

    unary_ms: float
    build_ms: float
    iteration_ms: float | None
    labels_ms: float


@dataclass(frozen=True)
class Traffic:
    """What an iteration must move (crf_traffic.py), and the least time that takes.

    `appearance` and `smoothness` count the lattices' vertices in the first frame. `streamed_mb` is
    of the arrays that have a row per pixel, `tables_mb` of those with a row per vertex, which stay
    in the caches if these are large enough. `bound_ms` is `streamed_mb` at the measured bandwidth,
    `gb_s` all of it by the time of an iteration (None where there is no such time).
    """

    appearance: int
    smoothness: int
    streamed_mb: float
    tables_mb: float
    bound_ms: float
    gb_s: float | None


@dataclass(frozen=True)
class Row(Pair):
    """One of ours against pydensecrf: median milliseconds from logits to labels.

    agreement: The share of pixels with the same label.
    max_marginal_error: The largest |dQ|.
    changed: The share of pixels that pydensecrf gives another label than the logits alone.
    changes_kept: Of those, the share that ours gives the same label; None if there are none.
    traffic: None in modes that do not visit every pixel in every iteration.
    peak_mb, peer_peak_mb: Memory beyond the frame and the logits at the highest, None on a GPU.
    """

    agreement: float
    max_marginal_error: float
    changed: float
    changes_kept: float | None
    split: Split
    peer_split: PeerSplit
    traffic: Traffic | None
    peak_mb: float | None
    peer_peak_mb: float
