"""The shape of every command: exit codes, one sentence for a foreseen failure, JSON."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from engines.atomic import replacing_folder
from engines.command import parser, run_command
from engines.failures import DeviceMissing, GateFailed, Refused, SourceFailed, UsageError
from scenes.dataset import DatasetError


@dataclass(frozen=True)
class Options:
    json: Path | None = None


@dataclass(frozen=True)
class Result:
    folder: Path
    score: np.float32
    exit_code: int = 0


def run_with(error: Exception | None, result: Result, json_file: Path | None = None) -> int:
    def run(_: Options) -> Result:
        if error is not None:
            raise error
        return result

    return run_command([], lambda _: Options(json_file), run, lambda r: print(r.folder))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (GateFailed("x"), 3),
        (DeviceMissing("x"), 4),
        (SourceFailed("x"), 5),
        (Refused("x"), 6),
        (DatasetError("x"), 6),
        (KeyboardInterrupt(), 130),
    ],
)
def test_foreseen_failures_have_their_exit_code_and_one_line(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_with(error, Result(Path(), np.float32(0))) == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_sigterm_ends_a_command_as_ctrl_c_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(options: Options) -> Options:
        with replacing_folder(tmp_path / "bundle"):
            os.kill(os.getpid(), signal.SIGTERM)
            return options

    assert run_command([], lambda _: Options(), run, print) == 130
    assert capsys.readouterr().err == "stopped\n"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_with(ZeroDivisionError(), Result(Path(), np.float32(0)))


def test_json_is_written_even_when_a_gate_failed(tmp_path: Path) -> None:
    result = Result(Path("a/b"), np.float32(0.5), exit_code=3)
    assert run_with(None, result, tmp_path / "new" / "out.json") == 3
    written = json.loads((tmp_path / "new" / "out.json").read_text())
    assert written == {"folder": "a/b", "score": 0.5, "exit_code": 3}


def test_usage_errors_of_options_are_not_tracebacks() -> None:
    def parse(_: list[str] | None) -> Options:
        raise UsageError("--a and --b exclude each other")

    assert run_command([], parse, lambda o: o, print) == 2


def test_what_a_file_says_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_with(Refused("no class \x1b[2J\x07 here"), Result(Path(), np.float32(0))) == 6
    assert capsys.readouterr().err == "error: no class ?[2J? here\n"


def test_a_file_that_the_system_refuses_is_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    def run(_: Options) -> Result:
        (tmp_path / "out.json").mkdir()
        return Result(Path(), np.float32(0))

    assert run_command([], lambda _: Options(tmp_path / "out.json"), run, print) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'out.json'}: ")
    with pytest.raises(OSError, match="of no file"):
        run_with(OSError("of no file"), Result(Path(), np.float32(0)))


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["--name", "n", "--jsn", "a"], "unrecognized arguments: --jsn a: did you mean --json? ("),
        (["--json"], "argument --json: expected one argument ("),
        (["--name", "n", "a"], "unrecognized arguments: a ("),
        ([], "the following arguments are required: --name (example: python tell.py --name N; "),
    ],
)
def test_what_argparse_complains_of_is_one_line(
    typed: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = parser("Tells.", "python tell.py --name N")
    flags.add_argument("--name", required=True)
    with pytest.raises(SystemExit) as stopped:
        flags.parse_args(typed)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {told}")


@pytest.mark.parametrize("name", ["folder", "file/out.json"])
def test_a_result_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")

    def run(_: Options) -> Result:
        raise AssertionError("the work had begun")

    assert run_command([], lambda _: Options(tmp_path / name), run, print) == 2
    assert str(tmp_path / name) in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_disk_is_told_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """What a write raises names no file, unlike what opening one does."""

    def run(_: Options) -> Result:
        Path("/dev/full").write_bytes(b"a")
        return Result(Path(), np.float32(0))

    assert run_command([], lambda _: Options(), run, print) == 1
    assert capsys.readouterr().err.startswith("error: No space left on device: df -h tells")
