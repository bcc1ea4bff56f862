"""The report, end to end on a tiny bundle: a classifier by nearest colour, whole and ruined."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from calibration import report as script
from calibration.reporting.energy import Power
from calibration.reporting.preconditions import require_same_classes
from calibration.reporting.worst_frames import WORST, WorstFrames, frame_miou
from crf.dense_crf import DenseCrf
from engines.bundle import Bundle, writing_bundle
from engines.failures import Refused
from engines.labels import upsample_argmax
from engines.manifest import BundleFile, Manifest
from engines.onnxruntime_session import OnnxRuntimeSession
from engines.spec import CrfParams, ModelSpec
from scenes.camvid import CLASSES, PALETTE, CamVid
from scenes.dataset import IGNORE, Scene, spread
from scenes.scores import SegmentationScores

SCHEMA = json.loads(Path(script.__file__).with_name("report.schema.json").read_text())
SIZE = (48, 64)
FRAMES = 7
CRF = CrfParams(3, 20, 30, 1, 2, iterations=2, temperature=3000)  # the logits reach 1e5
SPEC = ModelSpec("tiny", "none", CLASSES, PALETTE, SIZE, (0.0,) * 3, (1.0,) * 3, crf=CRF)
GRAPHS = {
    "fp32.onnx": ("fp32", None),
    "fp16.onnx": ("fp16", None),
    "int8_u8.onnx": ("int8", "u8"),
    "int8_s8.onnx": ("int8", "s8"),
    "mixed_u8.onnx": ("mixed", "u8"),
    "mixed_s8.onnx": ("mixed", "s8"),
}


def nearest_colour(spec: ModelSpec, noise: float = 0.0, shift: int = 0) -> bytes:
    """A graph whose logit of class c is 2 x·p_c - |p_c|²: the class of the nearest palette colour.

    `noise` disturbs the weights a little, `shift` gives each class its neighbour's weights.
    """
    colours = np.asarray(spec.palette, np.float32)
    disturbed = 2 * colours + np.random.default_rng(0).normal(0, noise, colours.shape)
    weights = np.roll(disturbed.astype(np.float32), shift, axis=0)[..., None, None]
    bias = np.roll(-(colours**2).sum(axis=1), shift)
    height, width = spec.input_size
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["small"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Conv", ["small", "weights", "bias"], ["logits"]),
    ]
    shape = [1, len(colours), *spec.logits_size]
    graph = helper.make_graph(
        nodes,
        "nearest",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, [1, height, width, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


HEALTHY = {
    "fp32.onnx": nearest_colour(SPEC),
    "fp16.onnx": nearest_colour(SPEC),
    "int8_u8.onnx": nearest_colour(SPEC, noise=2.0),
    "int8_s8.onnx": nearest_colour(SPEC, noise=4.0),
}


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Write a bundle of the healthy graphs; `changes` replaces some, None leaves one out."""

    def make(changes: dict[str, bytes | None] | None = None) -> Path:
        root = tmp_path / "bundle"
        with writing_bundle(root) as writer:
            for name, graph in {**HEALTHY, **(changes or {})}.items():
                precision, flavour = GRAPHS[name]
                if graph is not None:
                    facts = {"precision": precision, "flavour": flavour}
                    writer.add_bytes(name, graph, "onnx", **facts)
            origin = {"calibration": {"method": "percentile", "frames": 20, "digest": "ab"}}
            writer.finish(Manifest(SPEC, "int8", (), origin, {"onnx": "1"}))
        return root

    return make


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Frames of random palette-coloured blocks under noise, with their labels, as CamVid."""
    random = np.random.default_rng(1)
    for folder in ("val", "valannot"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for index in range(FRAMES):
        labels = scene_labels(random)
        frame = np.asarray(PALETTE, np.float64)[np.minimum(labels, len(PALETTE) - 1)]
        noisy = np.clip(frame + random.normal(0, 20 + 4 * index, frame.shape), 0, 255)
        Image.fromarray(noisy.astype(np.uint8)).save(tmp_path / f"data/val/{index}.png")
        Image.fromarray(labels).save(tmp_path / f"data/valannot/{index}.png")
    return f"camvid:{tmp_path / 'data'}"


def scene_labels(random: np.random.Generator) -> NDArray[np.uint8]:
    """Labels [H, W] in blocks of 8 x 8, some of them ignored (11 in CamVid)."""
    blocks = random.integers(0, len(CLASSES) + 1, (SIZE[0] // 8, SIZE[1] // 8), dtype=np.uint8)
    return np.kron(blocks, np.ones((8, 8), np.uint8))


def run(root: Path, data: str, *flags: str) -> tuple[int, dict[str, Any]]:
    """The command's exit code and its JSON, which the schema describes.

    The layers of these graphs, which are not quantized in truth, are not ranked.
    """
    out = root.parent / "report.json"
    fixed = ["--bundle", str(root), "--data", data, "--json", str(out), "--rank-frames", "0"]
    code = script.main([*fixed, *flags])
    report = json.loads(out.read_text(), parse_constant=not_json)
    jsonschema.validate(report, SCHEMA)
    return code, dict(report)


def not_json(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def test_a_healthy_bundle_passes_and_keeps_its_report(
    make_bundle: Callable[..., Path], data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_bundle()
    code, result = run(root, data, "--max-drop", "5")
    assert code == 0
    names = [(r["precision"], r["flavour"], r["target"], r["method"]) for r in result["rows"]]
    assert names == [
        ("fp32", None, "cpu", None),
        ("fp16", None, "cpu", None),
        ("int8", "u8", "cpu", "percentile"),
        ("int8", "s8", "tensorrt", "percentile"),
    ]
    assert result["gate"] == {
        "max_drop": 5.0, "max_class_drop": {}, "passed": True, "failures": []
    }  # fmt: skip
    assert (result["images"], result["images_in_split"]) == (FRAMES, FRAMES)
    assert result["rows"][0]["drop"] == 0
    assert result["rows"][0]["agreement"] == 100
    assert Bundle.open(root).report() == result
    assert result["verdict"] in capsys.readouterr().out


def test_every_row_equals_the_same_graph_scored_alone(
    make_bundle: Callable[..., Path], data: str
) -> None:
    root = make_bundle()
    _, result = run(root, data, "--max-drop", "100")
    dataset = CamVid(data.removeprefix("camvid:"), "val")
    for row, graph in zip(result["rows"], HEALTHY.values(), strict=True):
        scores = SegmentationScores(CLASSES)
        with OnnxRuntimeSession(graph, SPEC, "alone") as session:
            for scene in dataset:
                logits = session.run(scene.frame[None])[0]
                scores.add(scene.labels, upsample_argmax(logits, SIZE))
        summary = scores.summary()
        assert row["miou"] == summary.miou
        assert row["boundary_f"] == summary.boundary_f
        assert row["trimap_accuracy"] == summary.trimap_accuracy
        assert row["pixel_accuracy"] == summary.pixel_accuracy
        assert row["per_class"] == summary.per_class
        # The table of classes and the confusion matrix tell the same story.
        matrix = scores.confusion.matrix
        union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
        assert list(row["per_class"].values()) == pytest.approx(100 * matrix.diagonal() / union)
        assert row["miou"] == pytest.approx(np.mean(list(row["per_class"].values())))
        assert sum(row["class_drop"].values()) / len(CLASSES) == pytest.approx(row["drop"])
        assert row["worst_class_drop"] == row["class_drop"][row["worst_class"]]
        assert row["worst_class_drop"] == max(row["class_drop"].values())


def test_a_ruined_int8_graph_fails_the_gate_and_is_never_chosen(
    make_bundle: Callable[..., Path], data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_bundle({"int8_u8.onnx": nearest_colour(SPEC, shift=1)})
    code, result = run(root, data, "--max-drop", "5")
    assert code == 3
    ruined = result["rows"][2]
    assert ruined["drop"] == max(row["drop"] for row in result["rows"]) > 50
    assert ruined["agreement"] < 20
    (failure,) = result["gate"]["failures"]
    assert failure.startswith("INT8 CPU costs")
    assert result["verdict"].endswith("keep FP32, or build with --mixed --max-drop 5.0.")
    assert "FAILED" in capsys.readouterr().out
    assert Bundle.open(root).choose_precision("cpu")[0] != "int8"


def test_mixed_precision_stands_beside_int8_and_saves_the_day(
    make_bundle: Callable[..., Path], data: str
) -> None:
    mixed = dict.fromkeys(("mixed_u8.onnx", "mixed_s8.onnx"), HEALTHY["int8_u8.onnx"])
    root = make_bundle({"int8_u8.onnx": nearest_colour(SPEC, shift=1), **mixed})
    code, result = run(root, data, "--max-drop", "5")
    assert code == 3  # the bundle still ships an INT8 graph that is ruined
    kinds = [(r["precision"], r["target"], r["method"]) for r in result["rows"][2:]]
    assert kinds == [
        ("int8", "cpu", "percentile"), ("int8", "tensorrt", "percentile"),
        ("mixed", "cpu", "percentile"), ("mixed", "tensorrt", "percentile"),
    ]  # fmt: skip
    assert "over the limit of 5.0, but mixed precision" in result["verdict"]
    assert Bundle.open(root).choose_precision("cpu")[0] != "int8"


def test_one_class_may_be_guarded_more_closely(make_bundle: Callable[..., Path], data: str) -> None:
    root = make_bundle()
    flags = ("--max-drop", "100", "--max-class-drop")
    _, result = run(root, data, *flags, "car=100")
    drop = result["rows"][3]["class_drop"]["Car"]
    assert result["gate"]["max_class_drop"] == {"Car": 100.0}
    assert drop > 0
    code, result = run(root, data, *flags, f"Car={drop / 2}")
    assert code == 3
    assert "of Car, over its limit" in " ".join(result["gate"]["failures"])


def test_tensorrt_s_graph_has_accuracy_but_no_cpu_time(
    make_bundle: Callable[..., Path], data: str
) -> None:
    _, result = run(make_bundle(), data, "--max-drop", "100")
    *timed, tensorrt = result["rows"]
    assert all(0 < row["p50_ms"] <= row["p99_ms"] for row in timed)
    assert tensorrt["p50_ms"] is tensorrt["p99_ms"] is None
    assert "CPU" in tensorrt["note"]


def test_equal_inputs_give_equal_reports_but_for_times(
    without_times: Callable[..., dict[str, Any]], make_bundle: Callable[..., Path], data: str
) -> None:
    root = make_bundle()
    first, second = (without_times(run(root, data, "--max-drop", "5")[1]) for _ in range(2))
    assert first == second


def test_with_the_crf_the_bundle_s_graphs_have_a_second_row(
    make_bundle: Callable[..., Path], data: str
) -> None:
    root = make_bundle()
    _, result = run(root, data, "--max-drop", "100", "--crf", "exact")
    plain, refined = result["rows"][:4], result["rows"][4:]
    assert [row["crf"] for row in result["rows"]] == [None] * 4 + ["exact"] * 4
    assert all(row["shipped"] for row in result["rows"])
    dataset = CamVid(data.removeprefix("camvid:"), "val")
    scores = SegmentationScores(CLASSES)
    crf = DenseCrf(SIZE, len(CLASSES), CRF)
    with OnnxRuntimeSession(HEALTHY["fp32.onnx"], SPEC, "alone") as session:
        for scene in dataset:
            logits = session.run(scene.frame[None])[0]
            scores.add(scene.labels, crf.refine(scene.frame, logits))
    assert refined[0]["miou"] == scores.summary().miou != plain[0]["miou"]
    assert refined[0]["drop"] == plain[0]["miou"] - refined[0]["miou"]
    assert refined[0]["p50_ms"] > plain[0]["p50_ms"]  # the network's time and the CRF's
    assert refined[3]["p50_ms"] is None
    assert Bundle.open(root).choose_precision("cpu")[0] in {row["precision"] for row in plain}


def test_the_gate_does_not_judge_what_the_crf_does(
    make_bundle: Callable[..., Path], data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ruined = np.zeros(SIZE, np.uint8)
    monkeypatch.setattr("crf.refinement.Refinement.__call__", lambda *_: ruined)
    code, result = run(make_bundle(), data, "--max-drop", "5", "--crf", "fast")
    assert min(row["drop"] for row in result["rows"] if row["crf"]) > 50
    assert code == 0


def test_a_graph_that_gives_no_number_is_refused(
    make_bundle: Callable[..., Path], data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_bundle({"int8_s8.onnx": nearest_colour(SPEC, noise=float("nan"))})
    assert script.main(["--bundle", str(root), "--data", data]) == 6
    assert "the int8 s8 graph gives logits that are not finite" in capsys.readouterr().err


def test_graphs_that_are_not_quantized_have_no_layers_to_rank_and_the_report_says_so(
    make_bundle: Callable[..., Path], data: str
) -> None:
    _, result = run(make_bundle(), data, "--max-drop", "100", "--rank-frames", "1")
    assert result["rankings"] == []
    assert [reason.partition(":")[0] for reason in result["skipped"]] == [
        "layers of int8_u8.onnx", "layers of int8_s8.onnx",
    ]  # fmt: skip


def test_pictures_without_labels_are_refused(
    make_bundle: Callable[..., Path], data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = data.replace("camvid:", "images:")
    assert script.main(["--bundle", str(make_bundle()), "--data", pictures]) == 6
    assert "has no labels" in capsys.readouterr().err


def test_an_empty_split_is_refused(
    make_bundle: Callable[..., Path], data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in Path(data.removeprefix("camvid:"), "val").iterdir():
        path.unlink()
    assert script.main(["--bundle", str(make_bundle()), "--data", data]) == 6
    assert "val" in capsys.readouterr().err


def test_frames_of_another_size_are_scaled_and_the_report_says_so(
    make_bundle: Callable[..., Path], data: str, tmp_path: Path
) -> None:
    for path in (tmp_path / "data").glob("*/0.png"):
        with Image.open(path) as image:
            image.resize((128, 96), Image.Resampling.NEAREST).save(path)
    _, result = run(make_bundle(), data, "--max-drop", "100", "--markdown", str(tmp_path / "r.md"))
    assert result["frame_sizes"] == [[48, 64], [96, 128]]
    assert "128×96 scaled to 64×48" in (tmp_path / "r.md").read_text()


def test_an_engine_that_cannot_run_here_is_named_with_the_reason(
    make_bundle: Callable[..., Path], data: str
) -> None:
    _, result = run(with_plan(make_bundle()), data, "--max-drop", "100")
    (reason,) = result["skipped"]
    assert re.match(r"tensorrt\.int8\.plan: .*(not installed|sidecar|GPU)", reason)
    assert [row["target"] for row in result["rows"]].count(
        "tensorrt"
    ) == 1  # its accuracy, emulated


def test_an_engine_that_runs_takes_the_place_of_its_emulation(
    make_bundle: Callable[..., Path], data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "calibration.reporting.candidates.open_session",
        lambda bundle, precision, target: OnnxRuntimeSession(HEALTHY["fp32.onnx"], SPEC, precision),
    )
    monkeypatch.setattr("calibration.reporting.energy.meter", meter_of_graphics)
    monkeypatch.setattr("calibration.reporting.energy.SECONDS", 0.0)
    _, result = run(with_plan(make_bundle()), data, "--max-drop", "100")
    assert result["skipped"] == []
    (row,) = (row for row in result["rows"] if row["target"] == "tensorrt")
    assert row["p50_ms"] > 0
    assert row["drop"] == 0
    assert row["energy_mj"] > 0
    assert result["rows"][0]["energy_mj"] is None
    assert result["power"] == "a GPU"
    assert "on this GPU" in result["verdict"]


def with_plan(root: Path) -> Path:
    """The bundle with an engine of TensorRT in it."""
    bundle = Bundle.open(root)
    (root / "tensorrt.int8.plan").write_bytes(b"plan")
    digest = hashlib.sha256(b"plan").hexdigest()
    file = BundleFile("tensorrt.int8.plan", "plan", digest, 4, "int8", None, "tensorrt")
    manifest = dataclasses.replace(bundle.manifest, files=(*bundle.manifest.files, file))
    (root / "manifest.json").write_text(json.dumps(manifest.to_json()))
    return root


def meter_of_graphics(target: str) -> Power | None:
    """A meter of 1 J per reading, for the GPU alone, that needs no seconds."""
    readings = itertools.count()
    return Power("a GPU", lambda: float(next(readings))) if target == "tensorrt" else None


def test_worst_frames_come_worst_first_and_a_limit_is_recorded(
    make_bundle: Callable[..., Path], data: str
) -> None:
    _, result = run(make_bundle(), data, "--max-drop", "100", "--limit", "5")
    assert (result["images"], result["images_in_split"]) == (5, FRAMES)
    worst = result["worst_frames"]
    assert len(worst) == WORST
    agreements = [frame["agreement"] for frame in worst]
    assert agreements == sorted(agreements)
    assert {frame["precision"] for frame in worst} == {"int8"}
    assert {frame["index"] for frame in worst} <= set(spread(FRAMES, 5))


def test_without_calibration_the_fp16_frames_are_shown(
    make_bundle: Callable[..., Path], data: str
) -> None:
    changes = {"int8_u8.onnx": None, "int8_s8.onnx": None, "fp16.onnx": nearest_colour(SPEC, 4.0)}
    code, result = run(make_bundle(changes), data, "--max-drop", "5")
    assert code == 0
    assert "no INT8 graph" in result["verdict"]
    assert {frame["precision"] for frame in result["worst_frames"]} == {"fp16"}


def test_fp32_alone_has_nothing_to_lose(make_bundle: Callable[..., Path], data: str) -> None:
    changes = dict.fromkeys(("fp16.onnx", "int8_u8.onnx", "int8_s8.onnx"))
    code, result = run(make_bundle(changes), data, "--html", str(Path(data[7:], "r.html")))
    assert code == 0
    assert "nothing to compare" in result["verdict"]
    assert result["worst_frames"] == []


def test_the_page_is_written_with_its_pictures(
    make_bundle: Callable[..., Path], data: str, tmp_path: Path
) -> None:
    page = tmp_path / "out" / "report.html"
    _, result = run(make_bundle(), data, "--max-drop", "5", "--html", str(page))
    text = page.read_text()
    assert result["verdict"] in text
    assert text.count("<img ") == 5 * WORST


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        (["--max-class-drop", "Cra=1"], 2, "did you mean Car?"),
        (["--max-drop", "-1"], 2, "0 points or more"),
        (["--max-drop", "nan"], 2, "0 points or more"),
        (["--max-drop", "inf"], 2, "0 points or more"),
        (["--limit", "0"], 2, "at least 1"),
        (["--split", "nope"], 6, "no CamVid split"),
        (["--bundle", "nowhere"], 6, "no bundle at nowhere"),
        (["--html", "."], 2, "is a folder"),
        (["--markdown", "."], 2, "is a folder"),
        (["--rank-frames", "-1"], 2, "0 frames or more"),
    ],
)
def test_bad_input_is_one_sentence(
    flags: list[str], code: int, says: str,
    make_bundle: Callable[..., Path], data: str, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert script.main(["--bundle", str(make_bundle()), "--data", data, *flags]) == code
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error


def test_a_limit_without_a_number_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        script.parse(["--max-class-drop", "Car"])
    assert "expected NAME=X" in capsys.readouterr().err


class TwoClasses:
    """A dataset of other classes."""

    classes = ("Road", "Sky")


def test_other_classes_are_refused_and_both_are_named(make_bundle: Callable[..., Path]) -> None:
    bundle = Bundle.open(make_bundle())
    with pytest.raises(Refused, match=r"Road, Sky.* but tiny was trained on Sky, Building"):
        require_same_classes("folder:x", TwoClasses(), bundle)  # type: ignore[arg-type]


def test_a_read_only_bundle_is_refused_before_measuring(
    make_bundle: Callable[..., Path], data: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("os.access", lambda *_: False)
    assert script.main(["--bundle", str(make_bundle()), "--data", data]) == 6
    assert "read-only" in capsys.readouterr().err


def test_a_bundle_without_fp32_has_no_yardstick(
    make_bundle: Callable[..., Path], data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["--bundle", str(make_bundle({"fp32.onnx": None})), "--data", data]) == 6
    assert "no FP32 graph" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "limit", "indices"),
    [(5, None, [0, 1, 2, 3, 4]), (101, 3, [0, 50, 100]), (3, 9, [0, 1, 2]), (9, 1, [0])],
)
def test_a_limit_spreads_over_the_split(count: int, limit: int | None, indices: list[int]) -> None:
    assert spread(count, limit) == indices


def test_worst_frames_keep_the_worst_and_break_ties_by_order() -> None:
    worst = WorstFrames("int8")
    reference = np.zeros((10, 10), np.uint8)
    for index, pixels in enumerate([3, 0, 9, 3, 1, 20, 3, 3]):
        candidate = reference.copy()
        candidate.flat[:pixels] = 1
        scene = Scene(str(index), np.zeros((10, 10, 3), np.uint8), reference)
        worst.offer(index, scene, reference, candidate)
    kept = worst.sorted(classes=2)
    assert [frame.index for frame in kept] == [5, 2, 0, 3]
    assert [frame.agreement for frame in kept] == [80, 91, 97, 97]
    assert kept[0].miou_fp32 == 100
    assert kept[0].miou == pytest.approx(80)


def test_a_frame_without_labels_has_no_miou() -> None:
    truth = np.full((4, 4), IGNORE, np.uint8)
    assert frame_miou(truth, np.zeros((4, 4), np.uint8), 2) is None
