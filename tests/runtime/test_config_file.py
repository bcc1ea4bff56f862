"""A TOML file is as good as the flags, and typed flags win."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.failures import UsageError
from runtime.options import Options
from runtime.stream import parse


def write(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "stream.toml"
    file.write_text(text)
    return ["--config", str(file)]


def test_a_file_equals_the_flags(tmp_path: Path) -> None:
    config = write(
        tmp_path,
        """
        camera = "street:?fps=15"
        bundle = "artifacts/mine"   # a comment
        crf_budget = 20
        alpha = 0.25
        headless = true
        serve = "127.0.0.1:8080"
        allow-host = ["a.example", "b.example"]
        """,
    )
    typed = ["--camera", "street:?fps=15", "--bundle", "artifacts/mine", "--crf-budget", "20"]
    typed += ["--alpha", "0.25", "--headless", "--serve", "127.0.0.1:8080"]
    typed += ["--allow-host", "a.example", "--allow-host", "b.example"]
    read, flags = parse(config), parse(typed)
    assert read == Options(**{**vars(flags), "config": Path(config[1])})


def test_the_flag_itself_may_be_short(tmp_path: Path) -> None:
    _, file = write(tmp_path, "alpha = 0.25")
    assert parse(["--camera", "0", f"--conf={file}"]).alpha == 0.25


def test_typed_flags_win(tmp_path: Path) -> None:
    config = write(tmp_path, 'camera = "0"\nalpha = 0.25\nheadless = true\n')
    options = parse([*config, "--alpha", "1", "--no-headless"])
    assert (options.camera, options.alpha, options.headless) == (("0",), 1.0, False)


def test_typed_flags_take_the_place_of_repeated_ones(tmp_path: Path) -> None:
    config = write(
        tmp_path, 'camera = ["0", "1"]\nallow-host = ["a"]\nrecordings = "r"\nserve=":0"'
    )
    assert parse(config).camera == ("0", "1")
    options = parse([*config, "--cam=2", "--camera", "3", "--record", "out.mp4"])
    assert (options.camera, options.allow_host) == (("2", "3"), ("a",))
    assert options.recordings == Path("r")  # --record is another flag


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('camra = "0"', "did you mean camera"),
        ('config = "other.toml"', "no setting 'config'"),
        ("camera = ", "not valid TOML"),
        ("camera = 2026-01-01", "is a date"),
        ('[camera]\nname = "0"', "is a dict"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse(write(tmp_path, text))


def test_a_missing_file_and_wrong_values_are_usage_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="No such file"):
        parse(["--config", str(tmp_path / "none.toml")])
    with pytest.raises(SystemExit) as stop:
        parse(write(tmp_path, 'camera = "0"\ncrf = "best"\n'))
    assert stop.value.code == 2
    assert "--crf: invalid choice: 'best'" in capsys.readouterr().err
