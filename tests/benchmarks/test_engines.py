"""The engine benchmark: who competes, in which order, and what the numbers mean."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks import contenders, engines, peers, torch_peers
from benchmarks.contenders import Contender, Metered, masks, take_turns
from engines.bundle import Bundle, writing_bundle
from engines.manifest import Manifest
from engines.spec import ModelSpec
from scenes.dataset import Scene

ROOT = Path(__file__).resolve().parents[2]
Frame = NDArray[np.uint8]


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Twelve noisy frames in a CamVid folder."""
    random = np.random.default_rng(0)
    for folder in ("val", "valannot"):
        (tmp_path / folder).mkdir()
    for index in range(12):
        frame = random.integers(0, 256, (96, 128, 3), dtype=np.uint8)
        Image.fromarray(frame).save(tmp_path / f"val/{index:02}.png")
        Image.fromarray(frame[..., 0] % 11).save(tmp_path / f"valannot/{index:02}.png")
    return f"camvid:{tmp_path}"


def test_the_same_graph_agrees_with_itself(
    tiny_bundle: Path, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    flags = ["--bundle", str(tiny_bundle), "--data", data, "--threads", "1,2", "--frames", "6"]
    assert engines.main([*flags, "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    found = {(row["name"], row["peer"]) for row in result["results"]}
    assert ("fp32 openvino", "onnxruntime-fp32") in found or peers.missing("openvino")
    rows = [r for r in result["results"] if (r["name"], r["peer"]) == ("fp32", "onnxruntime-fp32")]
    for row, threads in zip(rows, (1, 2), strict=True):
        assert (row["name"], row["peer"], row["threads"]) == ("fp32", "onnxruntime-fp32", threads)
        assert row["agreement"] == 1.0
        assert row["ratio"] == pytest.approx(row["peer_ms"] / row["ours_ms"])
        assert row["ours_core_ms"] > 0
        assert row["peer_core_ms"] > 0
        assert row["settings"]["size"] == "128x96"
        assert row["settings"]["frames"] == 6
        assert row["ours_miou"] == row["peer_miou"]
    assert {*peers.TORCH, "openvino-nncf-int8"} <= set(result["skipped"])  # no checkpoint, no train
    assert result["machine"]["cores"] >= 1
    assert "holds no checkpoint" in capsys.readouterr().out


def test_both_pytorch_peers_compute_the_deployed_network(tmp_path: Path) -> None:
    import torch

    from train.checkpoint import save_checkpoint
    from train.deployable import Deployable
    from train.family import build_model

    classes = ("a", "b", "c")
    spec = ModelSpec(
        "net", "deeplabv3plus_mobilenetv2", classes, ((0, 0, 0),) * 3, (64, 96),
        (127.5,) * 3, (60.0,) * 3,
    )  # fmt: skip
    torch.manual_seed(0)
    network = build_model(spec.architecture, 3)
    save_checkpoint(tmp_path / "net.safetensors", network, spec)
    weights = (tmp_path / "net.safetensors").read_bytes()
    with writing_bundle(tmp_path / "bundle") as writer:
        writer.add_bytes("checkpoint.safetensors", weights, "checkpoint")
        writer.finish(Manifest(spec, "fp32", ()))
    bundle = Bundle.open(tmp_path / "bundle")
    frame = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    with torch.inference_mode():
        wanted = Deployable(network.eval(), spec).eval()(torch.from_numpy(frame)[None])[0].numpy()
    for layout in (torch.contiguous_format, torch.channels_last):
        logits = torch_peers.torch_runner(bundle, layout)(frame)
        assert logits.shape == (3, 16, 24)
        np.testing.assert_allclose(logits, wanted, atol=1e-4)


@pytest.mark.skipif(
    peers.missing("openvino") or peers.missing("nncf"), reason="OpenVINO or NNCF is not installed"
)
def test_openvino_gives_the_same_logits_and_nncf_quantizes_them(
    tiny_bundle: Path, data: str
) -> None:
    from benchmarks.openvino_peers import nncf_int8, openvino_fp32

    bundle = Bundle.open(tiny_bundle)
    size = bundle.spec.input_size
    frames = [scene.frame for scene in engines.load_scenes(data, "val", 12, size)]
    wanted = contenders.plain_onnxruntime(bundle, 1).run(frames[0])
    np.testing.assert_allclose(openvino_fp32(bundle, 1).run(frames[0]), wanted, rtol=1e-3)
    quantized = nncf_int8(bundle, 1, frames).run(frames[0])
    assert quantized.shape == wanted.shape
    assert not np.array_equal(quantized, wanted)


def test_only_the_peers_that_were_named_compete(
    tiny_bundle: Path, data: str, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    flags = ["--bundle", str(tiny_bundle), "--data", data, "--threads", "1", "--frames", "2"]
    assert engines.main([*flags, "--peers", "onnxruntime-fp32", "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    assert {row["peer"] for row in result["results"]} == {"onnxruntime-fp32"}
    assert result["skipped"] == {}


def test_a_peer_that_nobody_has_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert engines.main(["--peers", "openvino-default,onnxruntime-fp31"]) == 2
    assert "did you mean onnxruntime-fp32?" in capsys.readouterr().err


def test_core_ms_count_all_threads_and_no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = iter([0.0, 0.010, 0.020, 0.050, 0.060, 0.064])
    monkeypatch.setattr("time.process_time", lambda: next(spent))
    meter = Metered(recorder("a", []))
    for frame in numbered_frames(3):
        assert meter.run(frame).shape == (8, 4, 4)
    assert meter.core_ms() == pytest.approx(10)  # the median of 10, 30 and 4


def recorder(name: str, calls: list[tuple[str, int]]) -> Contender:
    def run(frame: Frame) -> NDArray[np.float32]:
        calls.append((name, int(frame[0, 0, 0])))
        return np.stack([frame[..., 0] == c for c in range(8)]).astype(np.float32)

    return Contender(name, run)


def numbered_frames(count: int) -> list[Frame]:
    return [np.full((4, 4, 3), index, np.uint8) for index in range(count)]


def test_contenders_take_turns_in_blocks_after_one_untimed_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(contenders, "SETTLE", 0)
    monkeypatch.setattr(contenders, "BLOCK", 2)
    timed: list[tuple[str, int]] = []
    monkeypatch.setattr(contenders, "clock", recording_clock(timed))
    calls: list[tuple[str, int]] = []
    times = take_turns([recorder("a", calls), recorder("b", calls)], numbered_frames(3))
    assert timed == [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("a", 2), ("b", 2)]
    assert calls == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert times == {"a": 1.0, "b": 1.0}  # the median of 0, 1 and 2


def recording_clock(timed: list[tuple[str, int]]) -> Callable[[Contender, Frame], float]:
    def clock(contender: Contender, frame: Frame) -> float:
        timed.append((contender.name, int(frame[0, 0, 0])))
        return float(frame[0, 0, 0])

    return clock


def test_masks_are_labels_at_the_size_of_the_truth() -> None:
    truth = np.zeros((8, 8), np.uint8)
    scenes = [Scene(str(i), frame, truth) for i, frame in enumerate(numbered_frames(3))]
    labels = masks(recorder("a", []), scenes)
    assert [mask.shape for mask in labels] == [(8, 8)] * 3
    assert [int(mask[0, 0]) for mask in labels] == [0, 1, 2]


def test_it_runs_by_its_path_though_it_is_named_like_a_room(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks/engines.py"), "--bundle", "nowhere"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 6
    assert done.stderr.startswith("error: no bundle at nowhere")


@pytest.mark.parametrize(("load", "warned"), [(0.3, False), (2.0, False), (7.2, True)])
def test_a_busy_machine_is_told(
    load: float, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    engines.show(engines.Result([], {}, {"load": load, "cores": 2}))
    assert ("WARNING: load" in capsys.readouterr().out) == warned


@pytest.mark.parametrize("flag", ["--frames", "--threads"])
def test_nothing_to_run_is_a_usage_error(flag: str) -> None:
    assert engines.main([flag, "0"]) == 2


def test_threads_are_numbers() -> None:
    with pytest.raises(SystemExit, match="2"):
        engines.parse(["--threads", "two"])
