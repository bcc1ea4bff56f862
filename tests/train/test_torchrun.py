"""Whole runs under torchrun: one process's curve, a kill survived, one sentence per failure."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

REPOSITORY = Path(__file__).resolve().parents[2]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
EXACT = "tests/train/exact_fit.py"

pytestmark = pytest.mark.slow


def command(
    *words: object, two: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script of the repository, by two processes or alone."""
    arguments = [sys.executable, *(TORCHRUN if two else []), *map(str, words)]
    variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)} | environment
    return subprocess.run(
        arguments, cwd=REPOSITORY, env=variables, capture_output=True, text=True, timeout=500
    )


def flags(camvid: Path, run: Path, *more: str) -> list[str]:
    """A run with all that is random: crops, colours, donors, frames mixed in, dropout, pixels."""
    text = (
        f"--data camvid:{camvid} --run-dir {run} --name tiny --epochs 3 --batch 4 --crop 64x96 "
        "--input-size 64x96 --class-mix 0.5 --lovasz 0.5 --mix street:?frames=4 --precision fp32 "
        "--architecture deeplabv3plus_mobilenetv2,width=0.5"
    )
    return [*text.split(), *more]


def curve(path: Path) -> dict[tuple[int, int], float]:
    """The loss of each (epoch, step); of a step taken twice, the later one."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {(int(epoch), int(step)): float(loss) for epoch, step, loss in lines}


@pytest.fixture(scope="module")
def alone(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process that nothing interrupts."""
    folder = tmp_path_factory.mktemp("alone")
    done = command(EXACT, *flags(camvid, folder), STEPS=str(folder / "steps.txt"))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("two", [False, True], ids=["one process", "two processes"])
def test_a_killed_run_resumes_the_curve_of_one_that_was_not(
    alone: Path, camvid: Path, tmp_path: Path, two: bool
) -> None:
    """Killed in the middle of the second epoch; two processes have the curve of one throughout."""
    steps = tmp_path / "steps.txt"
    words = flags(camvid, tmp_path)
    killed = command(EXACT, *words, two=two, STEPS=str(steps), KILL=f"{int(two)} 1 2")
    assert killed.returncode == (1 if two else -signal.SIGKILL), killed.stderr
    assert max(curve(steps)) <= (1, 2)
    assert (tmp_path / "state.pt").exists()
    resumed = command(EXACT, *words, "--resume", two=two, STEPS=str(steps))
    assert resumed.returncode == 0, resumed.stderr

    expected, losses = curve(alone / "steps.txt"), curve(steps)
    assert len(expected) == 3 * 5
    assert losses == pytest.approx(expected, rel=1e-6) if two else losses == expected
    before, after = (load_file(folder / "tiny.safetensors") for folder in (alone, tmp_path))
    for name, weight in before.items():
        if two:
            torch.testing.assert_close(after[name], weight, rtol=1e-4, atol=1e-7)
        else:
            assert torch.equal(after[name], weight)
    if two:
        assert resumed.stdout.count("epoch 3: loss") == 1


def test_a_frozen_trunk_needs_no_gradient_in_either_process(
    alone: Path, camvid: Path, tmp_path: Path
) -> None:
    start = str(alone / "tiny.safetensors")
    more = ["--epochs", "1", "--freeze-backbone", "--init-backbone", start]
    done = command("train/fit.py", *flags(camvid, tmp_path, *more), two=True)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    before, after = load_file(start), load_file(tmp_path / "tiny.safetensors")
    changed = {
        name for name, weight in after.items() if not torch.equal(weight, before[name].float())
    }
    assert any(name.startswith("decoder.") for name in changed)
    assert not any(name.startswith("backbone.") for name in changed)


def test_sharded_evaluation_prints_the_scores_of_one_process(
    alone: Path, camvid: Path, tmp_path: Path
) -> None:
    words = f"train/evaluate.py --data camvid:{camvid} --checkpoint {alone / 'tiny.safetensors'}"
    reports = [tmp_path / "one.json", tmp_path / "two.json"]
    outputs = [
        command(*words.split(), "--json", report, two=two)
        for report, two in zip(reports, (False, True), strict=True)
    ]
    assert outputs[0].returncode == 0, outputs[0].stderr
    assert outputs[1].stdout == outputs[0].stdout
    assert reports[1].read_text() == reports[0].read_text()


def test_a_failure_of_one_process_ends_both_with_its_sentence(camvid: Path, tmp_path: Path) -> None:
    """The second validation image is the second process's; only that one meets it."""
    data = tmp_path / "camvid"
    shutil.copytree(camvid, data)
    (data / "val" / "001.png").write_bytes(b"broken off")
    words = ["train/fit.py", *flags(data, tmp_path / "run", "--validate-every", "1")]
    failed = command(*words, two=True)
    assert failed.returncode == 1  # torchrun's own; the process's is in its report
    assert failed.stderr.count("error: ") == 1
    assert "001.png is not a readable image" in failed.stderr
    assert "exitcode  : 6" in failed.stderr


def test_a_failure_of_both_is_told_once(camvid: Path, tmp_path: Path) -> None:
    failed = command("train/fit.py", *flags(camvid, tmp_path, "--batch", "3"), two=True)
    assert failed.stderr.count("error: ") == 1
    assert "--batch 3, the global batch, does not divide among 2 processes" in failed.stderr
    assert "exitcode  : 2" in failed.stderr
    unknown = command("train/fit.py", *flags(camvid, tmp_path, "--epoch", "x"), two=True)
    assert unknown.stderr.count("error: ") == 1
    assert not [*tmp_path.iterdir()]
