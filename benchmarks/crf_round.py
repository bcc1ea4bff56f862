"""One round of `benchmarks/crf.py`: all contenders on the same frames with the same setting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.contenders import take_turns
from benchmarks.crf_cases import Case, Size
from benchmarks.crf_contenders import Ours, PyDenseCrf, Turn, open_ours
from benchmarks.crf_memory import peak_of_ours, peak_of_peer
from benchmarks.crf_row import Row, Traffic
from benchmarks.crf_traffic import cuda_fill_gb_s, traffic, triad_gb_s, vertices
from engines.spec import CrfParams


@dataclass(frozen=True)
class Round:
    """What all contenders have in common."""

    data: str
    size: Size
    setting: str
    params: CrfParams
    repeats: int
    cases: list[Case]

    def run(self, modes: Sequence[str], threads: Sequence[int]) -> tuple[list[Row], dict[str, str]]:
        """A row for each of ours; and what of ours cannot run here, and why."""
        ours, skipped = open_ours(self.size, self.params, modes, threads)
        peer = PyDenseCrf(self.params)
        for case in self.cases:
            marginals = peer.marginals(case)
            for mine in ours:
                mine.judge(case, marginals)
        turns = [Turn(peer.name, peer.run), *(turn for mine in ours for turn in mine.turns)]
        times = take_turns(turns, self.cases * self.repeats)
        found = vertices(self.cases[0].frame, self.params)
        peer_mb = peak_of_peer(self.cases[0], self.params)
        return [self._row(mine, peer, times, found, peer_mb) for mine in ours], skipped

    def _row(
        self,
        mine: Ours,
        peer: PyDenseCrf,
        times: dict[str, float],
        found: tuple[int, int],
        peer_mb: float,
    ) -> Row:
        """One of ours against pydensecrf: `times` by the names of turns, `found` vertices."""
        whole, short = (times[turn.name] for turn in mine.turns)
        split, tally = mine.split(whole, short), mine.tally
        return Row(
            name=mine.name,
            peer=peer.name,
            threads=mine.threads,
            settings=self._settings(mine.backend),
            ours_ms=whole,
            peer_ms=times[peer.name],
            ratio=times[peer.name] / whole,
            agreement=tally.same / tally.pixels,
            max_marginal_error=tally.max_marginal_error,
            changed=tally.changed / tally.pixels,
            changes_kept=tally.kept / tally.changed if tally.changed else None,
            split=split,
            peer_split=peer.split(),
            traffic=self._traffic(mine, found, split.iteration_ms),
            peak_mb=self._peak_mb(mine),
            peer_peak_mb=peer_mb,
        )

    def _settings(self, backend: str) -> dict[str, Any]:
        """What a row's numbers belong to."""
        return {
            "setting": self.setting, **asdict(self.params), "size": self.size.text,
            "classes": self.size.classes, "data": self.data, "frames": len(self.cases),
            "repeats": self.repeats, "backend": backend,
        }  # fmt: skip

    def _traffic(
        self, mine: Ours, found: tuple[int, int], iteration_ms: float | None
    ) -> Traffic | None:
        if mine.mode != "exact":
            return None
        rate = bandwidth(mine.backend, mine.threads)
        return traffic(mine.backend, self.size, found, rate, iteration_ms)

    def _peak_mb(self, mine: Ours) -> float | None:
        if mine.backend != "cpu":
            return None
        return peak_of_ours(self.cases[0], self.params, mine.mode, mine.threads)


def bandwidth(backend: str, threads: int) -> float:
    """GB/s of the memory that a backend uses."""
    return cuda_fill_gb_s() if backend == "cuda" else triad_gb_s(threads)


def bandwidths(rows: Iterable[Row]) -> dict[str, float]:
    """The bandwidths that rows are held against, such as `cpu_2_gb_s`: on two threads."""
    used = {(row.settings["backend"], row.threads) for row in rows if row.traffic}
    return {f"{backend}_{n}_gb_s": round(bandwidth(backend, n), 1) for backend, n in sorted(used)}
