"""`stream.py --compare` and `--shadow` as people type them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from runtime.stream import main
from scenes.street import StreetCamera
from tests.runtime.damaged_bundle import with_int8

DAMAGED = "Fence"
STREET = "street:?size=128x96&seed=4"


@pytest.fixture(scope="module")
def damaged(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FP32, and an INT8 that never says `DAMAGED`."""
    return with_int8(tiny_bundle, tmp_path_factory.mktemp("damaged") / "bundle", DAMAGED)


@pytest.fixture
def stream(damaged: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run twelve frames with these flags; the JSON."""

    def run(*flags: str, frames: int = 12) -> dict[str, Any]:
        numbers = tmp_path / "s.json"
        words = ["--camera", STREET, "--bundle", str(damaged), "--target", "cpu", "--headless"]
        assert main([*words, "--frames", str(frames), "--json", str(numbers), *flags]) == 0
        return dict(json.loads(numbers.read_text()))

    return run


def test_a_target_that_nobody_asked_for_says_why_it_is_taken(
    damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--camera", STREET, "--bundle", str(damaged), "--headless", "--frames", "1"]
    assert main([*words, "--compare", "fp32,int8@cpu"]) == 0
    assert "target cpu: onnxruntime (no accuracy report" in capsys.readouterr().out
    assert main([*words, "--compare", "fp32@cpu,int8@cpu"]) == 0
    assert "target cpu: as asked" in capsys.readouterr().out


def test_a_comparison_records_both_sides_and_names_the_damage(
    stream: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "both.mp4"
    result = stream("--compare", "fp32,int8", "--record", str(out))
    compared = result["compare"]
    assert (compared["a"], compared["b"]) == ("fp32 on cpu", "int8 on cpu")
    assert compared["agreement"]["min"] <= compared["agreement"]["mean"] < 90
    assert compared["worst_class"] == DAMAGED
    assert set(compared["worst_frame"]) == {"index", "time", "agreement"}
    assert (result["precision"], result["frames"], result["shadow"]) == ("fp32", 12, None)
    assert {"infer", "infer b", "agreement", "draw"} <= set(result["stages"])
    with av.open(str(out)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(pictures) == 12
    assert pictures[0].shape == (96, 256, 3)
    printed = capsys.readouterr().out
    assert "compare fp32 on cpu with int8 on cpu (onnxruntime" in printed
    assert f"most differ in {DAMAGED}" in printed


def test_the_labels_are_the_first_ones(stream: Callable[..., dict[str, Any]]) -> None:
    """Twice the same engine agrees, whichever targets and evidence it has."""
    result = stream("--compare", "int8,int8@cpu", "--crf", "exact", "--crf-budget", "10000")
    assert result["precision"] == "int8"
    assert set(result["compare"]["agreement"].values()) == {100.0}
    assert result["compare"]["worst_class"] is None


def test_each_of_several_cameras_is_compared(damaged: Path, tmp_path: Path) -> None:
    words = ["--bundle", str(damaged), "--target", "cpu", "--headless", "--compare", "fp32,int8"]
    for name, numbers in (("a", (0, 1, 2)), ("b", (300, 301))):
        (tmp_path / name).mkdir()
        for number in numbers:
            picture = Image.fromarray(StreetCamera((96, 128), seed=4).scene(number).frame)
            picture.save(tmp_path / name / f"{number}.png")
        words += ["--camera", str(tmp_path / name)]
    assert main([*words, "--json", str(tmp_path / "s.json")]) == 0
    result = json.loads((tmp_path / "s.json").read_text())
    assert (result["compare"], result["frames"]) == (None, 5)
    found = [camera["compare"] for camera in result["cameras"]]
    assert [compared["worst_class"] for compared in found] == [DAMAGED, DAMAGED]
    assert found[0]["agreement"] != found[1]["agreement"]


def test_a_shadow_tells_how_far_the_stream_agrees_with_fp32(
    stream: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    result = stream("--precision", "int8", "--shadow", "2", frames=40)
    shadow = result["shadow"]
    assert (shadow["a"], shadow["b"]) == ("int8 on cpu", "fp32 on cpu")
    assert shadow["frames"] >= 1
    assert shadow["frames"] + shadow["skipped"] >= 20  # a frame more may be under way at the end
    assert shadow["worst_class"] == DAMAGED
    assert (shadow["failure"], shadow["warnings"]) == (None, 0)
    assert (result["compare"], result["precision"]) == (None, "int8")
    printed = capsys.readouterr().out
    assert "shadow one frame in 2 on fp32 on cpu" in printed
    assert "no warning, as the bundle has no accuracy report of int8 on cpu" in printed


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--compare", "fp32"], "two engines"),
        (["--compare", "fp32,int9"], "did you mean int8?"),
        (["--compare", "fp32,mixed"], "no mixed graph"),
        (["--compare", "fp32,int8", "--precision", "int8"], "leave --precision out"),
        (["--compare", "fp32,int8", "--drift"], "--drift watches one engine"),
        (["--compare", "fp32,int8", "--shadow", "5"], "leave --shadow out"),
        (["--compare", "fp32,int8", "--target", "tensorrt"], "python export/verify.py"),
        (["--compare", "fp32,int8@tensorrt-rtx"], "python export/verify.py"),
        (["--shadow", "0"], "N at least 1"),
        (["--shadow", "5", "--precision", "fp32"], "which is what runs already"),
        (["--shadow", "5", "--target", "tensorrt"], "python export/verify.py"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    damaged: Path, flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--camera", STREET, "--bundle", str(damaged), "--headless", "--frames", "1"]
    assert main([*arguments, *flags]) == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert errors.count("\n") == 1
