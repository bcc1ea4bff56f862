"""Quantization-aware training: what learns is what is built, and the command keeps its promises."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from safetensors.torch import load_file
from torch import nn

from calibration.calibrate import shipped_ranges
from calibration.graphs.execution import load
from calibration.graphs.qdq import SMALLEST_RANGE, quantize
from calibration.graphs.validator import validate_s8
from calibration.ranges.observe import expose, observe
from calibration.report import line
from calibration.reporting.accuracy import measure
from engines.bundle import Bundle
from engines.failures import Refused, UsageError
from engines.labels import upsample_argmax
from engines.ranges import Ranges
from engines.spec import ModelSpec
from export import build_engine
from export.fine_tuning import (
    FineTuning,
    find_places,
    learned_range,
    learned_ranges,
    open_fine_tuning,
)
from export.graph import export_graph
from export.half import to_half
from scenes.dataset import open_dataset
from train import fit
from train.checkpoint import load_model, save_checkpoint
from train.deployable import Deployable, Normalise
from train.family import ARCHITECTURES, Architecture, build_model
from train.fit_options import FINE_TUNING, Options
from train.fold import batch_norms
from train.losses import segmentation_loss
from train.qat import FakeQuantised, Pass, Places

SIZE = (64, 96)
Frames = list[NDArray[np.uint8]]


@pytest.fixture(scope="module")
def frames(camvid: Path) -> Frames:
    dataset = open_dataset(f"camvid:{camvid}", "val")
    return [dataset[index].frame for index in range(len(dataset))]


@pytest.fixture(scope="module")
def source(camvid: Path, spec: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights with batch norms that have seen the frames."""
    spec = dataclasses.replace(spec, architecture="deeplabv3plus_mobilenetv2,width=0.35")
    dataset = open_dataset(f"camvid:{camvid}", "train")
    images = torch.from_numpy(np.stack([dataset[i].frame for i in range(16)])).permute(0, 3, 1, 2)
    torch.manual_seed(0)
    network = build_model(spec.architecture, len(spec.classes))
    for parameter in network.get_submodule("decoder.classifier").parameters():
        nn.init.normal_(parameter, std=0.1)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
            nn.init.uniform_(layer.bias, 0.5, 3.5)  # mostly inside ReLU6's range
    with torch.no_grad():
        network.train()(Normalise(spec)(images))
    path = tmp_path_factory.mktemp("source") / "float.safetensors"
    save_checkpoint(path, network, spec)
    return path


@dataclass(frozen=True)
class Tuned:
    """A network after some steps of fine-tuning, and what was stored of it."""

    tuning: FineTuning
    losses: list[float]
    steps_before: torch.Tensor
    checkpoint: Path
    graph: ModelProto
    ranges: Ranges


@pytest.fixture(scope="module")
def tuned(camvid: Path, source: Path) -> Tuned:
    """Started from ranges three times too narrow, so that there is something to learn."""
    network, spec = load_model(source)
    tuning = open_fine_tuning(network, spec, SIZE, f"camvid:{camvid}", "train")
    with torch.no_grad():
        tuning.network.log_steps.sub_(np.log(3))
    before = tuning.network.log_steps.detach().clone()
    losses = learn(tuning, camvid)
    checkpoint = source.with_name("tuned.safetensors")
    tuning.save(checkpoint, tuning.network, spec)
    again, spec = load_model(checkpoint)
    graph = export_graph(Deployable(again, spec).eval(), spec)
    ranges = Ranges.load(checkpoint.with_suffix(".ranges.json"))
    return Tuned(tuning, losses, before, checkpoint, graph, ranges)


def learn(tuning: FineTuning, camvid: Path, steps: int = 12) -> list[float]:
    """The loss of each of some steps on the same four frames."""
    dataset = open_dataset(f"camvid:{camvid}", "train")
    scenes = [dataset[index] for index in range(4)]
    images = torch.from_numpy(np.stack([scene.frame for scene in scenes])).permute(0, 3, 1, 2)
    labels = torch.from_numpy(np.stack([scene.labels for scene in scenes])).long()
    images, equal = Normalise(tuning.spec)(images), torch.ones(len(tuning.spec.classes))
    groups: list[dict[str, Any]] = [
        {"params": [*tuning.network.backbone.parameters(), *tuning.network.head_parameters()]},
        {"params": tuning.network.step_parameters(), "lr": 3e-2},
    ]
    optimizer = torch.optim.Adam(groups, lr=1e-3)
    losses = []
    for _ in range(steps):
        loss = segmentation_loss(tuning.network(images), labels, equal)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_fine_tuning_lowers_the_int8_loss_and_moves_the_ranges(tuned: Tuned) -> None:
    assert np.mean(tuned.losses[-3:]) < 0.7 * tuned.losses[0]
    moved = tuned.tuning.network.log_steps.detach() - tuned.steps_before
    assert (moved.abs() > 0.05).float().mean() > 0.9


def test_the_checkpoint_is_the_folded_network_in_the_familys_own_form(
    tuned: Tuned, source: Path
) -> None:
    assert load_file(tuned.checkpoint).keys() == load_file(source).keys()
    learned = tuned.tuning.network.weights()
    stored = dict(find_weights(tuned.graph))
    assert learned.keys() == stored.keys()
    for name, value in learned.items():
        assert torch.equal(value, stored[name]), name


def find_weights(graph: ModelProto) -> list[tuple[str, torch.Tensor]]:
    return list(FakeQuantised([graph], Places(frozenset(), {}, {}, 0.0)).weights().items())


def test_the_stored_ranges_are_the_learned_ones(tuned: Tuned) -> None:
    digest = hashlib.sha256(tuned.checkpoint.read_bytes()).hexdigest()
    path = tuned.checkpoint.with_suffix(".ranges.json")
    assert shipped_ranges(path, digest, tuned.tuning.spec) == tuned.ranges
    assert tuned.ranges.key.method == "qat"
    quantized = quantize(tuned.graph, tuned.ranges.tensors, "s8")
    places, network = find_places(tuned.graph, quantized), tuned.tuning.network
    assert places.activations == network.places.activations
    assert places.weights == network.places.weights
    assert places.steps.keys() == network.places.steps.keys()
    assert list(places.steps.values()) == network.steps().tolist()  # bit for bit
    halves = find_places(tuned.graph, to_half(quantized)).steps  # and in TensorRT's FP16 graph
    assert halves == places.steps


def test_what_learns_is_what_is_built(tuned: Tuned, frames: Frames) -> None:
    """The heart: fake-quantised PyTorch against the Q/DQ graph of the stored files.

    onnxruntime sums in another order, 1e-7 off, and now and then a value falls on the other side of
    a rounding edge; so a few logits differ, but hardly a label.
    """
    quantized = quantize(tuned.graph, tuned.ranges.tensors, "s8")
    validate_s8(quantized)
    model, session = Deployable(tuned.tuning.network, tuned.tuning.spec).eval(), load(quantized)
    for frame in frames:
        with torch.no_grad():
            ours = model(torch.from_numpy(frame[None].copy())).numpy()[0]
        (theirs,) = session.run(None, {"frames": frame[None]})
        assert np.abs(ours - theirs[0]).mean() < 0.01 * np.abs(ours).mean()
        labels = [upsample_argmax(logits, SIZE) for logits in (ours, theirs[0])]
        assert (labels[0] == labels[1]).mean() > 0.999


def test_every_single_step_equals_onnxruntimes(tuned: Tuned, frames: Frames) -> None:
    """With onnxruntime's own inputs to each step nothing can pile up: all that is left is the order
    of sums in FP32."""
    network = tuned.tuning.network
    assert_steps_equal(network, quantize(tuned.graph, tuned.ranges.tensors, "s8"), frames[0])


def test_without_places_it_is_the_float_graph(tuned: Tuned, frames: Frames) -> None:
    network = FakeQuantised([tuned.graph], Places(frozenset(), {}, {}, SMALLEST_RANGE))
    assert_steps_equal(network, tuned.graph, frames[0])


def assert_steps_equal(network: FakeQuantised, graph: ModelProto, frame: NDArray[np.uint8]) -> None:
    program = network.programs[(frame.shape[0], frame.shape[1])]
    names = ["normalise/Div", *(step.output for step in program.steps)]
    values = load(expose(graph, names)).run(names, {"frames": frame[None]})
    forward = Pass(network, program)
    forward.values = {n: torch.from_numpy(v) for n, v in zip(names, values, strict=True)}
    for step in program.steps:
        expected = forward.values[step.output]
        with torch.no_grad():
            found = forward.compute(step)
        scale = expected.abs().max().item()
        torch.testing.assert_close(found, expected, rtol=0, atol=5e-6 * scale, msg=step.name)


@pytest.mark.parametrize(
    ("observed", "reach", "expected"),
    [
        pytest.param((0.0, 5.0), 4.0, (0.0, 4.0), id="a-relu-cut"),
        pytest.param((0.0, 5.0), 6.0, (0.0, 6.0), id="a-relu-widened"),
        pytest.param((-2.0, 5.0), 4.0, (-2.0, 4.0), id="the-far-end-moves"),
        pytest.param((-5.0, 3.0), 2.0, (-2.0, 2.0), id="both-cut"),
        pytest.param((-5.0, 3.0), 7.0, (-7.0, 3.0), id="downwards"),
    ],
)
def test_learned_ranges_keep_their_side(
    observed: tuple[float, float], reach: float, expected: tuple[float, float]
) -> None:
    assert learned_range(observed, reach) == expected


def test_an_operator_without_a_twin_is_refused(tuned: Tuned) -> None:
    graph = ModelProto()
    graph.CopyFrom(tuned.graph)
    next(node for node in graph.graph.node if node.op_type == "Concat").op_type = "Einsum"
    with pytest.raises(Refused, match=r"cannot train aspp/Concat: Einsum"):
        FakeQuantised([graph], tuned.tuning.network.places)


def flags(camvid: Path, source: Path, run: Path) -> list[str]:
    text = f"--qat --from {source} --data camvid:{camvid} --run {run} --name tiny --epochs 2"
    return [*text.split(), *["--batch", "8", "--crop", "64x96", "--validate-every", "2"]]


@pytest.mark.slow
def test_the_command_writes_a_checkpoint_with_its_ranges(
    camvid: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, report = tmp_path / "run", tmp_path / "fit.json"
    assert fit.main([*flags(camvid, source, run), "--json", str(report)]) == 0
    result = json.loads(report.read_text())
    assert result.keys() == {"checkpoint", "miou", "epochs"}
    checkpoint = Path(result["checkpoint"])
    _, spec = load_model(checkpoint)
    assert (spec.name, spec.input_size) == ("tiny", SIZE)
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    ranges = shipped_ranges(checkpoint.with_suffix(".ranges.json"), digest, spec)
    assert (ranges.key.method, ranges.frame_count) == ("qat", 16)
    assert f"--int8 --checkpoint {checkpoint}\n" in capsys.readouterr().out  # no --data


@pytest.mark.slow
def test_a_resumed_run_ends_like_an_uninterrupted_one(
    camvid: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = (fit.parse(flags(camvid, source, tmp_path / name)) for name in ("a", "b"))
    fit.run(whole)

    def interrupt(line: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fit, "show_line", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit.run(parts)
    fit.run(dataclasses.replace(parts, resume=True))
    for name in ("tiny.safetensors", "tiny.ranges.json"):
        assert (whole.run / name).read_bytes() == (parts.run / name).read_bytes()


@pytest.mark.slow
def test_a_build_takes_the_learned_ranges_and_the_report_says_so(
    tuned: Tuned, camvid: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    words = ["--int8", "--target", "cpu", "--checkpoint", str(tuned.checkpoint), "--out", str(out)]
    assert build_engine.main(words) == 0
    bundle = Bundle.open(out)
    assert bundle.manifest.provenance["calibration"]["method"] == "qat"
    rows = measure(bundle, open_dataset(f"camvid:{camvid}", "val")).rows
    int8 = [row for row in rows if row.precision == "int8"]
    assert {"cpu", "tensorrt", "tensorrt-rtx"} <= {row.target for row in int8}
    assert {row.method for row in int8} == {"qat"}
    assert all(("qat" in line(row)) == (row.precision == "int8") for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_whole_family_can_be_fine_tuned(architecture: str, spec: ModelSpec) -> None:
    """Every operator of every member, each step against onnxruntime's, at an odd size."""
    stride = ARCHITECTURES[architecture].strides[0]
    spec = dataclasses.replace(
        spec,
        architecture=architecture,
        input_size=(65, 97),
        output_stride=stride,
        logits_stride=Architecture.parse(architecture).logits_stride(stride),
    )
    torch.manual_seed(1)
    network = build_model(architecture, len(spec.classes), stride).eval()
    graph = export_graph(Deployable(network, spec).eval(), spec)
    frames = list(np.random.default_rng(2).integers(0, 256, (2, 65, 97, 3), np.uint8))
    ranges = observe(graph, frames)
    tuned = FakeQuantised([graph], find_places(graph, quantize(graph, ranges, "s8")))
    assert_steps_equal(tuned, quantize(graph, learned_ranges(ranges, tuned), "s8"), frames[0])
    norms = batch_norms(network, spec.input_size)
    biases = {name.removesuffix(".bias") for name in tuned.weights() if name.endswith(".bias")}
    own = {p for p, m in network.named_modules() if getattr(m, "bias", None) is not None}
    assert biases <= norms.keys() | own
    tuned(Normalise(spec)(torch.zeros(2, 3, 65, 97))).mean().backward()


def test_defaults_are_gentler_than_those_of_training() -> None:
    given = ["--data", "camvid:x", "--qat", "--from", "f"]
    options = fit.parse(given)
    assert {name: getattr(options, name) for name in FINE_TUNING} == FINE_TUNING
    assert fit.parse([*given, "--learning-rate", "1e-4"]).learning_rate == 1e-4
    assert fit.parse(given[:2]) == Options(data=("camvid:x",))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        pytest.param("--qat", 2, "add its checkpoint with --from", id="no-source"),
        pytest.param("--from f", 2, "--from goes with --qat", id="no-qat"),
        pytest.param("--qat --from f --init g", 2, "leave other ones out", id="init"),
        pytest.param("--qat --from f --precision bf16", 2, "needs --precision fp32", id="bf16"),
        pytest.param("--qat --from f --output-stride 8", 2, "comes with the checkpoint", id="os"),
        pytest.param("--qat --from /no.safetensors", 6, "no checkpoint at", id="missing"),
        pytest.param("--qat --from {here}", 6, "is not a safetensors checkpoint", id="no-weights"),
    ],
)
def test_bad_input_is_one_sentence(
    words: str,
    code: int,
    message: str,
    camvid: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = words.format(here=__file__).split()
    run = ["--run", str(tmp_path / "run")]
    assert fit.main(["--data", f"camvid:{camvid}", *given, *run]) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_other_classes_are_refused(camvid: Path, spec: ModelSpec, tmp_path: Path) -> None:
    classes = (*spec.classes[:-1], "Tram")
    other = dataclasses.replace(spec, classes=classes)
    path = tmp_path / "other.safetensors"
    save_checkpoint(path, build_model(other.architecture, len(classes)), other)
    with pytest.raises(Refused, match="Tram apart, but the frames of --data show"):
        fit.run(fit.parse(["--data", f"camvid:{camvid}", "--qat", "--from", str(path)]))


def test_a_contradiction_in_code_is_refused_too() -> None:
    with pytest.raises(UsageError, match="needs --precision fp32"):
        Options(data=("camvid:x",), qat=True, source=Path("f"))
