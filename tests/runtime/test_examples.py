"""The programs in examples/ do what their first lines say, on the virtual street."""

from __future__ import annotations

import csv
import importlib.util
import runpy
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
STREET = "street:?size=160x120"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_run_here() -> None:
    run = {"count_people", "save_when", "log_to_csv", "own_frames"}
    assert {path.stem for path in FOLDER.glob("*.py")} == run


def test_count_people(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("count_people").main([STREET, "--bundle", str(tiny_bundle), "--frames", "4"])
    first = capsys.readouterr().out.splitlines()[0].split()
    assert first[:2] == ["0.00", "s:"]
    assert int(first[2]) >= 0


def test_save_when(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--folder", str(tmp_path / "new"), "--bundle", str(tiny_bundle), "--frames", "4"]
    example("save_when").main([STREET, "Sky", "0.01", *words])
    saved = tmp_path / "new" / "00000000-Sky.jpg"
    assert list((tmp_path / "new").iterdir()) == [saved]  # once, although it stays above
    assert capsys.readouterr().out.startswith(f"{saved}: ")


def test_log_to_csv(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "shares.csv"
    words = [str(path), STREET, STREET, "--bundle", str(tiny_bundle), "--seconds", "1.5"]
    example("log_to_csv").main(words)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert {row["camera"] for row in rows} == {"0", "1"}
    for row in rows:
        shares = [float(row[name]) for name in list(row)[3:]]
        assert sum(shares) == pytest.approx(1, abs=1e-3)


def test_own_frames(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("own_frames").main(["--bundle", str(tiny_bundle), "--frames", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "frame 0",
        "frame 1",
        "frame 2",
        "one picture",
    ]


@pytest.mark.parametrize(
    "typed",
    [
        "count_people nosuch.mp4",
        "save_when nosuch.mp4 Car 0.1",
        "log_to_csv new/shares.csv nosuch.mp4",
        "own_frames --bundle nosuch",
    ],
)
def test_what_cannot_be_opened_is_told_in_a_sentence(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, *words = typed.split()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [name, *words])
    with pytest.raises(SystemExit, match=r"^error: no (file or folder|bundle at) '?nosuch"):
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")


def test_ctrl_c_ends_a_program_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("runtime.api.open_stream", interrupt)
    monkeypatch.setattr("sys.argv", ["count_people", "street:"])
    runpy.run_path(str(FOLDER / "count_people.py"), run_name="__main__")
