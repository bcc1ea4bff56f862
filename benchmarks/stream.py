"""Our live stream against the loops that people write: frames per second, source to picture.

All contenders take the same frames from the same source, find the labels and draw them over the
frame. They take turns in laps of --frames frames, the first of which are not timed; medians over
the laps count. `core_ms` is the processor time of all threads for one frame. What stream.py does
by default is also run live: how old frames are when they are handed over, and how long a fresh
process takes to its first mask. Last, several cameras: one stream of all against a stream for each.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # this folder comes first on the path and would hide the room `engines`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import subprocess
import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from benchmarks.pair import Pair
from engines.command import parser, run_command
from engines.failures import SourceFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.stream_cameras import CamerasRow
    from benchmarks.stream_loops import Loop
    from engines.bundle import Bundle
    from engines.session import Session
    from scenes.dataset import Labels

PACKAGES = ("onnxruntime", "openvino", "torch", "opencv-python", "av", "numpy")
WARM_UP = 8  # frames at the start of a lap that are not timed
COMPARED = 20  # frames whose labels are compared
STARTS = 3  # fresh processes


@dataclass(frozen=True)
class Options:
    """What to run, on which frames."""

    bundle: Path = Path("artifacts/camvid-mobilenetv2")
    camera: str = "street:"
    live: str = "street:?fps=30"
    precision: str = "int8"
    target: str = "cpu"
    frames: int = 60
    laps: int = 5
    cameras: int = 8
    cameras_fps: float = 2.0
    data: str = "street:"
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.frames <= WARM_UP:
            raise UsageError(f"--frames {self.frames}: a lap has {WARM_UP} untimed frames, too")
        if self.laps < 1:
            raise UsageError("--laps must be at least 1")
        if self.cameras < 0 or not self.cameras_fps > 0:
            raise UsageError("--cameras: 0 for none, and --cameras-fps above 0")


@dataclass(frozen=True)
class Lap:
    """One lap: milliseconds and processor milliseconds for a frame, and the first labels."""

    ms: float
    core_ms: float
    labels: list[Labels]


@dataclass(frozen=True)
class Row(Pair):
    """One of ours against one peer with or without a CRF: medians; above 1 ours wins."""

    ours_fps: float
    peer_fps: float
    ours_core_ms: float
    peer_core_ms: float
    agreement: float


@dataclass(frozen=True)
class Live:
    """The default stream at a camera's pace; `first_mask_s` is of a fresh process."""

    camera: str
    fps: float
    age_p50_ms: float
    age_p99_ms: float
    dropped: int
    overhead_core_ms: float
    first_mask_s: float


@dataclass(frozen=True)
class Result:
    """All rows, the live run, several cameras, and which peers did not run, and why."""

    results: list[Row]
    live: Live
    cameras: list[CamerasRow]
    skipped: dict[str, str]
    machine: dict[str, str | int | float]


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    default = Options()
    p = parser(__doc__, "python benchmarks/stream.py --camera street: --json s.json")
    p.add_argument("--bundle", type=Path, default=default.bundle, metavar="DIR", help="of ours")
    p.add_argument("--camera", default=default.camera, metavar="SRC", help="a source that waits")
    p.add_argument("--live", default=default.live, metavar="SRC", help="one that does not")
    p.add_argument("--precision", default=default.precision, metavar="P", help="of ours")
    p.add_argument("--target", default=default.target, metavar="T", help="of ours")
    p.add_argument("--frames", type=int, default=default.frames, metavar="N", help="of a lap")
    p.add_argument("--laps", type=int, default=default.laps, metavar="N", help="of each contender")
    p.add_argument("--cameras", type=int, default=default.cameras, metavar="N", help="0: none")
    p.add_argument(
        "--cameras-fps", type=float, default=default.cameras_fps, metavar="F", help="of each, paced"
    )
    p.add_argument("--data", default=default.data, metavar="SPEC", help="for NNCF's calibration")
    return Options(**vars(p.parse_args(argv)))


def run(options: Options) -> Result:
    """Let all take turns, then run ours live."""
    from engines.bundle import Bundle
    from engines.machine import describe_machine
    from engines.session import open_session

    machine = describe_machine(*PACKAGES)
    bundle = Bundle.open(options.bundle)
    require_waiting(options.camera)
    with open_session(bundle, options.precision, options.target) as session:
        ours = our_loops(session)
        rivals, skipped = peers(bundle, options)
        laps = take_turns([*ours, *rivals], options)
        live = run_live(session, options)
    settings = {
        "camera": options.camera, "precision": options.precision, "target": options.target,
        "frames": options.frames, "laps": options.laps,
    }  # fmt: skip
    rows = [
        make_row(mine, peer, laps, settings)
        for mine in ours
        for peer in rivals
        if (mine.crf == "off") == (peer.crf == "off")
    ]
    return Result(rows, live, several_cameras(options), skipped, machine)


def require_waiting(camera: str) -> None:
    """A live source would drop frames for whoever is slow, and hide how slow."""
    from runtime.source import open_source

    if open_source(camera).live:
        raise UsageError(f"--camera {camera} is live: give a file, a folder or street:")


def our_loops(session: Session) -> list[Loop]:
    """Ours without a CRF, with each mode of it, and as stream.py is by default."""
    from benchmarks.stream_loops import our_stream

    name = session.precision
    default = "fast" if session.spec.crf else "off"
    return [
        our_stream(name, session, "off", temporal=False),
        our_stream(f"{name}+crf-fast", session, "fast", temporal=False),
        our_stream(f"{name}+crf-exact", session, "exact", temporal=False),
        our_stream("default", session, default, temporal=True),
    ]


def peers(bundle: Bundle, options: Options) -> tuple[list[Loop], dict[str, str]]:
    """The loops that can run here; for each engine's peers `benchmarks/peers.py` says why not."""
    from benchmarks.engines import Options as EngineOptions
    from benchmarks.engines import calibration_frames
    from benchmarks.peers import ONNXRUNTIME, OPENVINO, TORCH, missing
    from benchmarks.peers import peers as engine_peers
    from benchmarks.stream_loops import (
        enlarge_by_opencv,
        enlarge_by_torch,
        plain_loop,
        pydensecrf_loop,
    )
    from engines.onnxruntime_session import all_cores

    frames = calibration_frames(EngineOptions(data=options.data), bundle.spec.input_size)
    wanted = (ONNXRUNTIME, TORCH[0], OPENVINO[2])
    found, skipped = engine_peers(bundle, all_cores(), frames, wanted)
    loops = []
    for contender in found:
        torch = contender.name in TORCH
        enlarge = enlarge_by_torch if torch else enlarge_by_opencv
        loops.append(plain_loop(contender, bundle, enlarge))
        if torch and missing("pydensecrf"):
            skipped[f"{contender.name}+pydensecrf"] = "not installed: pip install pydensecrf2"
        elif torch:
            loops.append(pydensecrf_loop(contender, bundle, enlarge))
    return loops, skipped


def take_turns(loops: Sequence[Loop], options: Options) -> dict[str, list[Lap]]:
    """All laps of all, interleaved, so that a busy machine is busy for everybody."""
    from tqdm import tqdm

    from benchmarks.contenders import SETTLE

    laps: dict[str, list[Lap]] = {loop.name: [] for loop in loops}
    for _ in tqdm(range(options.laps), "laps", disable=None):
        for loop in loops:
            time.sleep(SETTLE)
            laps[loop.name].append(run_lap(loop, options))
    return laps


def run_lap(loop: Loop, options: Options) -> Lap:
    """One lap from a fresh source; the source may end before --frames."""
    kept: list[Labels] = []
    count = 0
    for count, labels in enumerate(islice(loop.frames(options.camera), options.frames), start=1):
        if len(kept) < COMPARED:
            kept.append(labels.copy())
        if count == WARM_UP:
            started, cores = time.perf_counter(), time.process_time()
    if count <= WARM_UP:
        raise SourceFailed(f"{options.camera} has {count} frames, a lap needs over {WARM_UP}")
    each = 1e3 / (count - WARM_UP)
    taken, busy = time.perf_counter() - started, time.process_time() - cores
    return Lap(each * taken, each * busy, kept)


def run_live(session: Session, options: Options) -> Live:
    """The default stream for as many frames as all laps had, and fresh processes to one frame."""
    from crf.temporal import TemporalEvidence
    from runtime.overlay import Overlay
    from runtime.pipeline import one_camera
    from runtime.refiner import choose_crf
    from runtime.source import open_source

    spec = session.spec
    with one_camera(
        open_source(options.live),
        session,
        temporal=TemporalEvidence(),
        refiner=choose_crf("auto", spec)[0],
        drawer=Overlay(spec, "live", 0.5),
    ) as stream:
        for _ in islice(stream, options.frames * options.laps):
            pass
    return Live(
        options.live,
        stream.fps,
        stream.ages.percentile_ms(50),
        stream.ages.percentile_ms(99),
        stream.dropped,
        stream.overhead_core_ms(),
        min(first_mask(options) for _ in range(STARTS)),
    )


def several_cameras(options: Options) -> list[CamerasRow]:
    """One stream of all cameras against a stream for each; half a lap's frames of each camera."""
    from benchmarks.stream_cameras import Plan, run_cameras

    if not options.cameras:
        return []
    flags = (
        "--bundle", str(options.bundle.resolve()), "--target", options.target,
        "--precision", options.precision,
    )  # fmt: skip
    frames = max(2, options.frames // 2)
    return run_cameras(Plan(flags, options.cameras, frames, options.laps, options.cameras_fps))


def first_mask(options: Options) -> float:
    """Seconds from starting a process to its end after one mask."""
    root = Path(__file__).resolve().parents[1]
    command = [
        sys.executable, str(root / "runtime/stream.py"), "--camera", options.camera, "--headless",
        "--frames", "1", "--bundle", str(options.bundle.resolve()), "--target", options.target,
        "--precision", options.precision,
    ]  # fmt: skip
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def make_row(mine: Loop, peer: Loop, laps: dict[str, list[Lap]], settings: dict[str, Any]) -> Row:
    """Medians over the laps."""
    from statistics import median

    from benchmarks.engines import same
    from engines.onnxruntime_session import all_cores

    ours, theirs = laps[mine.name], laps[peer.name]
    ours_ms, peer_ms = median(lap.ms for lap in ours), median(lap.ms for lap in theirs)
    return Row(
        name=mine.name,
        peer=peer.name,
        threads=all_cores(),
        settings={**settings, "crf": mine.crf},
        ours_ms=ours_ms,
        peer_ms=peer_ms,
        ratio=peer_ms / ours_ms,
        ours_fps=1e3 / ours_ms,
        peer_fps=1e3 / peer_ms,
        ours_core_ms=median(lap.core_ms for lap in ours),
        peer_core_ms=median(lap.core_ms for lap in theirs),
        agreement=same(ours[0].labels, theirs[0].labels),
    )


def show(result: Result) -> None:
    """Print one line per pair, the live run, the cameras, and what was skipped."""
    from benchmarks.stream_cameras import show_cameras

    print(", ".join(f"{key} {value}" for key, value in result.machine.items()))
    print(
        f"{'ours':16}{'peer':26}{'ours FPS':>9}{'peer FPS':>9}{'faster':>8}{'core-ms':>9}"
        f"{'peer':>7}{'same':>9}"
    )
    for row in result.results:
        print(
            f"{row.name:16}{row.peer:26}{row.ours_fps:9.1f}{row.peer_fps:9.1f}{row.ratio:7.2f}x"
            f"{row.ours_core_ms:9.1f}{row.peer_core_ms:7.0f}{row.agreement:9.2%}"
        )
    live = result.live
    print(
        f"live {live.camera}: {live.fps:.1f} FPS, age {live.age_p50_ms:.0f} ms (p99 "
        f"{live.age_p99_ms:.0f}), dropped {live.dropped}, overhead {live.overhead_core_ms:.1f} "
        f"core-ms a frame; first mask of a fresh process after {live.first_mask_s:.1f} s"
    )
    show_cameras(result.cameras)
    for name, reason in result.skipped.items():
        print(f"{name} skipped: {reason}")


def main(argv: list[str] | None = None) -> int:
    """Command line entry point; returns the exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
