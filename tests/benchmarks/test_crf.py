"""The CRF benchmark: equal work on both sides, numbers that belong together, honest skips."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks import contenders, crf, crf_contenders, crf_memory, crf_plot, crf_round, crf_traffic
from benchmarks.crf_cases import Case, Size, drawn_at, with_classes
from benchmarks.crf_contenders import Ours, PyDenseCrf, Tally, open_ours, unary_energies
from benchmarks.crf_row import PeerSplit, Row, Split
from crf import DenseCrf
from crf.numpy_crf import NumpyCrf
from engines._native import simd_levels
from engines.failures import DeviceMissing
from engines.labels import upsample
from engines.spec import CrfParams

PEER = pytest.importorskip(
    "pydensecrf.utils", reason="pydensecrf2 1.1 does not compile for Python 3.13"
)
unary_from_softmax = PEER.unary_from_softmax
ROOT = Path(__file__).resolve().parents[2]
PARAMS = CrfParams(4, 20, 10, 3, 3, iterations=3)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders, "SETTLE", 0)
    monkeypatch.setattr(crf_traffic, "TRIAD_FLOATS", 1 << 12)


@pytest.fixture
def case() -> Case:
    """24 x 32 pixels in two colours, and noisy logits of three classes."""
    random = np.random.default_rng(0)
    frame = np.full((24, 32, 3), 60, np.uint8)
    frame[:, 13:] = 200
    logits = random.normal(0, 1, (3, 6, 8)).astype(np.float32)
    logits[1, :, 3:] += 2
    return Case(frame, logits, np.ascontiguousarray(upsample(logits, (24, 32))))


def test_a_whole_run(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--bundle", str(tiny_bundle), "--sizes", "128x96x11,96x80x13", "--settings", "49/5"]
    flags += ["--frames", "2", "--repeats", "1", "--modes", "exact", "--threads", "1,2"]
    plot, out = tmp_path / "crf.png", tmp_path / "crf.json"
    assert crf.main([*flags, "--plot", str(plot), "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    assert set(result) == {"results", "skipped", "machine"}
    rows = [row for row in result["results"] if row["settings"]["backend"] == "cpu"]
    sizes = [(row["settings"]["size"], row["settings"]["classes"]) for row in rows]
    assert sizes == [("128x96", 11), ("128x96", 11), ("96x80", 13), ("96x80", 13)]
    assert [row["threads"] for row in rows] == [1, 2, 1, 2]
    for row in rows:
        check_row(row, result["machine"])
    assert "49/5" in capsys.readouterr().out
    with Image.open(plot) as picture:
        assert (picture.format, picture.width) == ("PNG", 800)


def check_row(row: dict[str, Any], machine: dict[str, Any]) -> None:
    """All keys, and numbers that follow from each other."""
    assert set(row) == {field.name for field in dataclasses.fields(Row)}
    assert (row["name"], row["peer"]) == ("exact", "pydensecrf2")
    assert row["ratio"] == pytest.approx(row["peer_ms"] / row["ours_ms"])
    assert row["agreement"] == 1.0
    # The model of the fixture has logits of thousands, which lose digits in the upsampling.
    assert 0 < row["max_marginal_error"] < 2e-3
    assert row["changed"] > 0
    assert row["changes_kept"] == 1.0
    assert row["settings"] | {"setting": "49/5", "w1": 4, "iterations": 5} == row["settings"]
    split, traffic = row["split"], row["traffic"]
    assert split["iterations"] == 5
    assert split["build_ms"] + 5 * split["iteration_ms"] == pytest.approx(row["ours_ms"])
    assert all(value > 0 for value in row["peer_split"].values())
    rate = machine[f"cpu_{row['threads']}_gb_s"]
    rounding = 0.0501  # the machine's rate is printed to a tenth, which is much of a small one
    assert traffic["streamed_mb"] / traffic["bound_ms"] == pytest.approx(rate, abs=rounding)
    moved = traffic["streamed_mb"] + traffic["tables_mb"]
    assert traffic["gb_s"] == pytest.approx(moved / split["iteration_ms"])
    assert row["peak_mb"] > 0
    assert row["peer_peak_mb"] > 0


def test_a_backend_that_does_not_open_is_skipped_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crf_without_gpu(*arguments: Any) -> DenseCrf:
        if "cuda" in arguments:
            raise DeviceMissing("no GPU, says the backend")
        return DenseCrf(*arguments)

    monkeypatch.setattr(crf_contenders, "DenseCrf", crf_without_gpu)
    ours, skipped = open_ours(Size(32, 24, 3), PARAMS, ("exact",), (1, 2))
    assert [(mine.name, mine.threads) for mine in ours] == [("exact", 1), ("exact", 2)]
    assert skipped == {"cuda-exact": "no GPU, says the backend"}


def test_a_gpu_has_a_row_and_a_bound_of_its_own(
    monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    def crf_as_if_on_gpu(size: Any, classes: int, params: CrfParams, *rest: Any) -> DenseCrf:
        return DenseCrf(size, classes, params)

    monkeypatch.setattr(crf_contenders, "DenseCrf", crf_as_if_on_gpu)
    monkeypatch.setattr(crf_round, "cuda_fill_gb_s", lambda: 1000.0)
    this = crf_round.Round("street:", Size(32, 24, 3), "tiny", PARAMS, 1, [case])
    monkeypatch.setattr(crf_round, "peak_of_peer", lambda *_: 1.0)
    rows, skipped = this.run(("exact",), ())
    assert not skipped
    assert [(row.name, row.settings["backend"]) for row in rows] == [("cuda-exact", "cuda")]
    traffic = rows[0].traffic
    assert traffic is not None
    streamed, _ = crf_traffic.cuda_bytes(24 * 32, 3, traffic.appearance, traffic.smoothness)
    assert traffic.bound_ms == pytest.approx(streamed / 1e9)
    assert rows[0].peak_mb is None
    assert crf_round.bandwidths(rows) == {"cuda_1_gb_s": 1000.0}


def test_the_peer_is_pydensecrf_with_our_parameters(case: Case) -> None:
    peer = PyDenseCrf(PARAMS)
    oracle = NumpyCrf((24, 32), PARAMS)
    oracle.run(case.frame, case.logits, None)
    np.testing.assert_allclose(peer.marginals(case), oracle.marginals(), atol=1e-4)
    np.testing.assert_array_equal(peer.run(case), oracle.labels())


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_peers_unary_is_that_of_its_documentation(case: Case, temperature: float) -> None:
    logits = case.full * 8  # some probabilities below 1e-5
    exponents = np.exp(logits / temperature)
    wanted = unary_from_softmax(exponents / exponents.sum(axis=0))
    np.testing.assert_allclose(unary_energies(logits, temperature), wanted, atol=1e-5)


def test_each_frame_gives_a_tally_and_counts_of_iterations(case: Case) -> None:
    mine = Ours("exact", "cpu", "exact", 1, DenseCrf((24, 32), 3, PARAMS, threads=1))
    mine.judge(case, PyDenseCrf(PARAMS).marginals(case))
    assert mine.iterations == (3, 1)
    assert mine.tally.same == mine.tally.pixels == 24 * 32
    assert 0 < mine.tally.changed == mine.tally.kept
    assert mine.split(25.0, 15.0) == Split(3, build_ms=10.0, iteration_ms=5.0)
    mine.iterations = (1, 1)
    assert mine.split(25.0, 25.0) == Split(1, None, None)


def test_kept_are_the_changes_that_ours_makes_too() -> None:
    def labels(*values: int) -> NDArray[np.uint8]:
        return np.array([values], np.uint8)

    tally = Tally()
    tally.add(labels(0, 1, 0, 3), plain=labels(0, 0, 0, 0), theirs=labels(0, 1, 1, 2), error=0.5)
    tally.add(labels(4, 4, 4, 4), plain=labels(4, 4, 4, 4), theirs=labels(4, 4, 4, 4), error=0.1)
    assert tally == Tally(pixels=8, same=6, changed=3, kept=1, max_marginal_error=0.5)


def test_more_classes_than_the_model_has_are_rare() -> None:
    logits = np.random.default_rng(0).normal(0, 1, (3, 40, 40)).astype(np.float32)
    more = with_classes(logits, 7)
    np.testing.assert_array_equal(more[:3], logits)
    np.testing.assert_array_equal(more[4], logits[1, :, ::-1] - 3)
    np.testing.assert_array_equal(more[6], logits[0, :, ::-1] - 6)
    assert 0 < (more.argmax(axis=0) >= 3).mean() < 0.1
    np.testing.assert_array_equal(with_classes(logits, 2), logits[:2])


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ("street:", "street:?size=640x480"),
        ("street:?seed=7", "street:?seed=7&size=640x480"),
        ("street:?size=96x80", "street:?size=96x80"),
        ("camvid:some/folder", "camvid:some/folder"),
    ],
)
def test_a_street_is_drawn_at_the_wanted_size(data: str, wanted: str) -> None:
    assert drawn_at(data, Size.of("640x480x21")) == wanted


def test_bytes_of_an_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crf_traffic, "simd_levels", lambda: ["baseline", "avx2"])
    # 11 classes in rows of 16 floats; 54 bytes of corners a pixel, 24 bytes of lists a vertex.
    assert crf_traffic.cpu_bytes(1000, 11, 100, 0) == (1000 * (64 + 36), 100 * (16 * 64 + 24))
    assert crf_traffic.cpu_bytes(1000, 11, 100, 10)[0] == 1000 * (64 + 54)
    streamed, passed = crf_traffic.cuda_bytes(1000, 11, 100, 10)  # rows of 12 floats
    assert streamed == 1000 * (3 * 48 + 9 * 16 + 1)
    assert passed == 48 * (2500 + 130 + 18_000) + 8 * 630
    assert set(simd_levels()) <= set(crf_traffic.LANES)


def test_vertices_are_those_of_the_terms_that_there_are(case: Case) -> None:
    appearance, smoothness = crf_traffic.vertices(case.frame, PARAMS)
    assert 0 < smoothness < 24 * 32
    black = np.zeros_like(case.frame)
    assert 0 < crf_traffic.vertices(black, PARAMS)[0] < appearance  # one colour less
    off = dataclasses.replace(PARAMS, w1=0)
    assert crf_traffic.vertices(case.frame, off) == (0, smoothness)
    assert crf_traffic.vertices(case.frame, dataclasses.replace(off, w2=0)) == (0, 0)


def test_bandwidth_is_measured_on_any_number_of_threads() -> None:
    assert crf_traffic.triad_gb_s.__wrapped__(3) > 0


def test_memory_is_the_peak_and_not_what_stays() -> None:
    def take_and_give_back() -> None:
        np.ones(8 << 20)

    assert crf_memory._peak_mb(take_and_give_back) >= 64  # of 67: the system counts in batches


def a_row(
    name: str, threads: int, ours_ms: float, setting: str = "80/13", size: str = "8x6"
) -> Row:
    settings = {"setting": setting, "size": size, "classes": 3, "data": "street:", "backend": "cpu"}
    return Row(
        name, "pydensecrf2", threads, settings | dataclasses.asdict(PARAMS), ours_ms, 120.0,
        120.0 / ours_ms, 1.0, 0.0, 0.1, 1.0, Split(3, 1.0, 1.0),
        PeerSplit(1.0, 1.0, 1.0, 1.0), None, None, 1.0,
    )  # fmt: skip


def test_the_plot_has_a_bar_for_each_mode_and_number_of_threads(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    modes = [("exact", 1, 30.0), ("exact", 2, 15.0), ("fast", 1, 12.0), ("fast", 2, 8.0)]
    rows = [a_row(*mode, setting=name) for name in ("80/13", "49/5") for mode in modes]
    axes = Figure().subplots()
    crf_plot.draw_panel(axes, rows)
    assert [text.get_text() for text in axes.texts] == ["4.0", "8.0", "10.0", "15.0"] * 2
    assert len(axes.patches) == 10
    assert len({patch.get_facecolor() for patch in axes.patches}) == 5
    path = tmp_path / "crf.svg"
    crf_plot.draw([*rows, a_row("cuda-exact", 1, 2.0, size="80x60")], path)
    assert "</svg>" in path.read_text()


def test_a_table_says_what_does_not_apply(capsys: pytest.CaptureFixture[str]) -> None:
    row = dataclasses.replace(a_row("fast", 2, 8.0), changes_kept=None)
    settings = row.settings | {"frames": 4, "repeats": 3}
    shown = dataclasses.replace(row, settings=settings)
    crf.show(crf.Result([shown], {"cuda-fast": "no GPU"}, {"load": 0.5, "cores": 2}))
    out = capsys.readouterr().out
    assert "street: 8x6, 3 classes: ms a frame, medians of 3 times 4 frames" in out
    assert "cuda-fast skipped: no GPU" in out
    assert "15.00x" in out
    assert "WARNING" not in out


def test_a_busy_machine_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    crf.show(crf.Result([], {}, {"load": 7.2, "cores": 2}))
    assert "WARNING: load 7.2 on 2 cores" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--frames", "0"], "must be at least 1"),
        (["--threads", "1,0"], "must be at least 1"),
        (["--settings", "70/7"], "unknown CRF setting '70/7'; known: 80/13, 49/5, 67/3, model"),
        (["--plot", "crf.gif"], "should end in .png or .svg"),
        (["--sizes", "480x360"], "WIDTHxHEIGHTxCLASSES"),
        (["--modes", "sloppy", "--sizes", "96x80x11"], "unknown CRF mode 'sloppy'"),
    ],
)
def test_what_cannot_be_run_is_a_usage_error(
    flags: list[str], message: str, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert crf.main(["--bundle", str(tiny_bundle), *flags]) == 2
    assert message in capsys.readouterr().err


def test_it_runs_by_its_path_though_it_is_named_like_a_room(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks/crf.py"), "--bundle", "nowhere"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 6
    assert done.stderr.startswith("error: no bundle at nowhere")
