"""The command with a Ray of its own: what it says, and that no way of dying loses or doubles."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime import label

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 900.0  # seconds: what a very busy machine may take
CLIPS = 8


def test_without_ray_it_says_what_to_install(
    folder: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["--input", str(folder), "--output", str(tmp_path / "out")]
    assert label.main([*words, "--bundle", str(tiny_bundle)]) == 4
    told = capsys.readouterr().err
    assert told == "error: labelling in bulk needs Ray: pip install 'ray[data]>=2.60'\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workers", "0"], "--workers 0: at least 1"),
        (["--threads", "-1"], "--threads -1: at least 1"),
        (["--precision", "int8"], "has no int8 graph"),
        (["--crf", "exact", "--input", "nowhere"], "no such file or folder"),
    ],
)
def test_what_cannot_be_is_said_at_once(
    folder: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    flags: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--input", str(folder), "--output", str(tmp_path / "out")]
    assert label.main([*words, "--bundle", str(tiny_bundle), *flags]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def clips(make_clip: Callable[..., Path], tmp_path: Path) -> Path:
    """Clips of 200 frames in two shards each."""
    root = tmp_path / "in"
    first = make_clip(root / "00.mp4", 200, g="100")
    for number in range(1, CLIPS):
        shutil.copy(first, root / f"{number:02}.mp4")
    return root


@pytest.fixture
def command(clips: Path, tiny_bundle: Path, tmp_path: Path) -> list[str]:
    """The command that labels them, with one worker."""
    need_ray()
    return [
        sys.executable, str(ROOT / "runtime/label.py"), "--input", str(clips), "--workers", "1",
        "--output", str(tmp_path / "out"), "--bundle", str(tiny_bundle),
        "--json", str(tmp_path / "out.json"),
    ]  # fmt: skip


@pytest.fixture
def running(command: list[str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The command, once it has finished its first shard."""
    with subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            found = tmp_path / "out/statistics"
            wait_for(lambda: any(found.glob("*/*.jsonl")) or process.poll() is not None)
            assert process.poll() is None, process.communicate()[0]
            yield process
        finally:
            process.kill()


def need_ray() -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("the [ray] extra is not installed")


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def below(pid: int) -> dict[int, str]:
    """All processes that a process started, directly or not, with their command lines."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            names[int(folder.name)] = (folder / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(folder.name)] = int(status[1])
    found: dict[int, str] = {}
    queue = [pid]
    while queue:
        parent = queue.pop()
        children = [child for child, above in parents.items() if above == parent]
        found |= {child: names[child] for child in children}
        queue += children
    return found


def gone(pids: dict[int, str]) -> bool:
    """Whether none of these processes is left; a zombie is nobody's."""
    states = []
    for pid in pids:
        path = Path(f"/proc/{pid}/stat")
        states.append(path.read_text().rpartition(")")[2].split()[0] if path.exists() else "Z")
    return set(states) <= {"Z"}


def finish(command: list[str]) -> dict[str, object]:
    """The command's JSON, once it ran to its end."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    data: dict[str, object] = json.loads(Path(command[-1]).read_text())
    return data


def assert_all_is_there(out: Path) -> None:
    """Every frame of every clip once, as a label map and as a line, and nothing else."""
    names = [f"{number:02}.mp4" for number in range(CLIPS)]
    for name in names:
        maps = sorted(path.name for path in (out / "labels" / name).iterdir())
        assert maps == [f"{index:08}.png" for index in range(200)]
        files = sorted((out / "statistics" / name).iterdir())
        assert [file.name for file in files] == ["00000000.jsonl", "00000100.jsonl", "plan.json"]
        lines = [json.loads(line) for file in files[:2] for line in file.read_text().splitlines()]
        assert [line["index"] for line in lines] == list(range(200))
    first = [(out / "labels/00.mp4" / f"{index:08}.png").read_bytes() for index in range(200)]
    for name in names[1:]:  # the clips are copies
        others = [(out / "labels" / name / f"{i:08}.png").read_bytes() for i in range(200)]
        assert first == others
    assert {path.name for path in out.iterdir()} == {"labels", "statistics", "run.json"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_run_is_resumed(
    command: list[str], running: subprocess.Popen[str], tmp_path: Path, number: int
) -> None:
    family = below(running.pid)
    assert any("raylet" in name for name in family.values())
    running.send_signal(number)
    code = running.wait(PATIENCE)
    assert code == (-9 if number == signal.SIGKILL else 130)
    wait_for(lambda: gone(family))
    data = finish(command)
    frames, resumed = data["frames"], data["resumed"]
    assert isinstance(frames, int)
    assert isinstance(resumed, int)
    assert frames + resumed == 200 * CLIPS
    assert resumed >= 100
    assert frames >= 100
    assert_all_is_there(tmp_path / "out")


@pytest.mark.slow
def test_a_killed_worker_is_replaced(running: subprocess.Popen[str], tmp_path: Path) -> None:
    (worker,) = [pid for pid, name in below(running.pid).items() if "MapWorker" in name]
    os.kill(worker, signal.SIGKILL)
    out, _ = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, out
    data = json.loads((tmp_path / "out.json").read_text())
    # A shard that was written, but not yet told, counts as resumed.
    assert data["frames"] + data["resumed"] == 200 * CLIPS
    assert_all_is_there(tmp_path / "out")


@pytest.mark.slow
def test_one_bad_file_among_many(command: list[str], clips: Path, tmp_path: Path) -> None:
    (clips / "bad.mp4").write_bytes(b"no video")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 5, done.stdout + done.stderr
    assert f"failed: bad.mp4: {clips}/bad.mp4 is not a video that FFmpeg can read" in done.stderr
    data = json.loads((tmp_path / "out.json").read_text())
    assert data["frames"] == 200 * CLIPS
    assert list(data["failures"]) == ["bad.mp4"]
    assert_all_is_there(tmp_path / "out")


@pytest.mark.slow
def test_a_cluster_that_is_not_there(command: list[str]) -> None:
    words = [*command, "--address", "127.0.0.1:1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr.startswith("error: no Ray at 127.0.0.1:1")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.data
def test_labels_are_the_streams_byte_by_byte(deeplab_data: Path, tmp_path: Path) -> None:
    need_ray()
    video = deeplab_data / "video/dashcam_short.mp4"
    bundle = tmp_path / "bundle"
    build = [sys.executable, str(ROOT / "export/build_engine.py"), "--int8", "--out", str(bundle)]
    subprocess.run(build, check=True, capture_output=True)
    model = ["--bundle", str(bundle), "--precision", "int8"]
    stream = ["--camera", str(video), "--headless", "--temporal", "off"]
    for script, words in (
        ("stream.py", [*stream, "--labels", str(tmp_path / "stream")]),
        ("label.py", ["--input", str(video), "--output", str(tmp_path / "bulk")]),
    ):
        command = [sys.executable, str(ROOT / "runtime" / script), *model, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    ours = sorted((tmp_path / "bulk/labels/dashcam_short.mp4").iterdir())
    theirs = sorted((tmp_path / "stream").iterdir())
    assert [path.name for path in ours] == [path.name for path in theirs]
    assert [path.read_bytes() for path in ours] == [path.read_bytes() for path in theirs]
    assert len(ours) == 38
