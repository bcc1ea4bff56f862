"""Triton model repositories: what Triton's own definition, onnxruntime and a fake server say."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.bundle import Bundle, Golden, writing_bundle
from engines.manifest import Manifest
from engines.plan_sidecar import Environment, HashedFile, PlanOptions, PlanSidecar
from engines.spec import CrfParams
from export import triton_repository

protobuf = pytest.importorskip(
    "tritonclient.grpc.model_config_pb2", reason="the [triton] extra is not installed"
)
Frame = NDArray[np.uint8]
MODEL = "tiny"
PLAN = b"a plan"


@pytest.fixture
def frames() -> Frame:
    """Three noisy frames of the tiny bundle's size."""
    return np.random.default_rng(0).integers(0, 256, (3, 96, 128, 3), dtype=np.uint8)


@pytest.fixture
def bundle(tiny_bundle: Path, frames: Frame, tmp_path: Path) -> Path:
    """The tiny bundle with a golden frame and a CRF."""
    return remade(tiny_bundle, tmp_path / "bundle", frames)


@pytest.fixture
def planned(tiny_bundle: Path, frames: Frame, tmp_path: Path) -> Callable[[PlanSidecar], Path]:
    """`planned(sidecar)`: that bundle with a plan and what is said of it."""

    def build(sidecar: PlanSidecar) -> Path:
        return remade(tiny_bundle, tmp_path / "planned", frames, sidecar)

    return build


def remade(tiny: Path, root: Path, frames: Frame, sidecar: PlanSidecar | None = None) -> Path:
    old = Bundle.open(tiny)
    with writing_bundle(root) as writer:
        graph = old.read(old.graph("fp32"))
        source = writer.add_bytes("fp32.onnx", graph, "onnx", precision="fp32")
        writer.add_golden([Golden(frames[0], np.zeros((96, 128), np.uint8))])
        if sidecar is not None:
            facts = {"precision": "fp32", "target": "tensorrt"}
            plan = writer.add_bytes("tensorrt.fp32.plan", PLAN, "plan", **facts)
            told = dataclasses.replace(
                sidecar,
                plan=HashedFile(plan.name, plan.sha256),
                source=HashedFile(source.name, source.sha256),
            )
            writer.add_bytes("tensorrt.fp32.plan.json", told.text().encode(), "sidecar", **facts)
        spec = dataclasses.replace(old.spec, crf=CrfParams(2, 20, 5, 1, 1, iterations=2))
        writer.finish(Manifest(spec, "fp32", ()))
    return root


def sidecar(**changed: Any) -> PlanSidecar:
    """Of a plan that an Orin has built, for one frame of the tiny bundle's size."""
    nothing, size = HashedFile("", ""), (96, 128)
    made = PlanSidecar(
        "tensorrt", "fp32",
        Environment("tensorrt", "10.3.0", "linux-aarch64", "Orin", "8.7", "540.4.0", "12.6"),
        ("8.7",), nothing, nothing, (1, 1, 1), (size, size, size), PlanOptions(1024),
    )  # fmt: skip
    return dataclasses.replace(made, **changed)


def export(bundle: Path, *flags: str) -> int:
    out = bundle.parent / "models"
    return triton_repository.main(["--bundle", str(bundle), "--out", str(out), *flags])


def model_of(bundle: Path, name: str = MODEL) -> Path:
    return bundle.parent / "models" / name


def config_of(model: Path) -> Any:
    """The configuration as Triton reads it."""
    from google.protobuf import text_format  # type: ignore[import-untyped]

    return text_format.Parse((model / "config.pbtxt").read_text(), protobuf.ModelConfig())


def test_a_graph_is_served_one_frame_at_a_time(bundle: Path, frames: Frame) -> None:
    assert export(bundle) == 0
    model = model_of(bundle)
    config = config_of(model)
    assert (config.name, config.backend, config.platform) == (
        MODEL, "onnxruntime", "onnxruntime_onnx",
    )  # fmt: skip
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [1, 96, 128, 3]
    assert list(config.output[0].dims) == [1, 11, 24, 32]
    opened = Bundle.open(bundle)
    assert (model / "1/model.onnx").read_bytes() == opened.read(opened.graph("fp32"))
    assert (model / "warmup/golden").read_bytes() == frames[0].tobytes()
    sample = config.model_warmup[0].inputs["frames"]
    assert (sample.input_data_file, list(sample.dims)) == ("golden", [1, 96, 128, 3])
    names = (model / config.output[0].label_filename).read_text().split()
    assert tuple(names) == opened.spec.classes
    assert json.loads(config.parameters["classes"].string_value) == names
    palette = json.loads(config.parameters["palette"].string_value)
    assert tuple(map(tuple, palette)) == opened.spec.palette
    assert {path.name for path in model.iterdir()} == {"1", "config.pbtxt", "labels.txt", "warmup"}


def test_several_frames_in_one_run_give_what_each_gives_alone(bundle: Path, frames: Frame) -> None:
    import onnxruntime

    assert export(bundle, "--max-batch", "4", "--instances", "2", "--device", "gpu") == 0
    model = model_of(bundle)
    config = config_of(model)
    assert config.max_batch_size == 4
    assert config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [96, 128, 3]
    assert list(config.model_warmup[0].inputs["frames"].dims) == [96, 128, 3]
    group = config.instance_group[0]
    assert (group.count, type(group).Kind.Name(group.kind)) == (2, "KIND_GPU")
    session = onnxruntime.InferenceSession(
        model / "1/model.onnx", providers=["CPUExecutionProvider"]
    )
    (together,) = session.run(["logits"], {"frames": frames})
    for frame, logits in zip(frames, together, strict=True):
        (alone,) = session.run(["logits"], {"frames": frame[None]})
        np.testing.assert_array_equal(alone[0], logits)


def test_the_same_bundle_gives_the_same_files(bundle: Path) -> None:
    contents = []
    for _ in range(2):
        assert export(bundle, "--max-batch", "2") == 0
        files = sorted(path for path in model_of(bundle).rglob("*") if path.is_file())
        contents.append({path: path.read_bytes() for path in files})
    assert contents[0] == contents[1]


@pytest.mark.parametrize(("batch", "most", "lead"), [((1, 1, 1), 0, [1]), ((1, 4, 8), 8, [])])
def test_a_plan_is_served_as_it_was_built(
    planned: Callable[[PlanSidecar], Path], batch: Any, most: int, lead: list[int]
) -> None:
    bundle = planned(sidecar(batch=batch))
    assert export(bundle, "--backend", "tensorrt") == 0
    model = model_of(bundle)
    config = config_of(model)
    assert (config.backend, config.platform) == ("tensorrt", "tensorrt_plan")
    assert config.max_batch_size == most
    assert config.HasField("dynamic_batching") == (most > 1)
    assert list(config.input[0].dims) == [*lead, 96, 128, 3]
    assert config.parameters["tensorrt"].string_value == "10.3.0"
    assert config.parameters["compute_capability"].string_value == "8.7"
    assert (model / "1/model.plan").read_bytes() == PLAN


def test_a_plan_for_a_range_of_sizes_takes_any(planned: Callable[[PlanSidecar], Path]) -> None:
    bundle = planned(sidecar(size=((48, 64), (96, 128), (192, 256))))
    assert export(bundle, "--backend", "tensorrt") == 0
    config = config_of(model_of(bundle))
    assert list(config.input[0].dims) == [1, -1, -1, 3]
    assert list(config.output[0].dims) == [1, 11, -1, -1]
    assert list(config.model_warmup[0].inputs["frames"].dims) == [1, 96, 128, 3]


def test_a_plan_of_rtx_is_refused(
    planned: Callable[[PlanSidecar], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where it was put under the other target's name."""
    bundle = planned(sidecar(environment=Environment("tensorrt_rtx", "1.7.1.116")))
    assert export(bundle, "--backend", "tensorrt") == 6
    assert "it is a plan of tensorrt_rtx, not of tensorrt" in capsys.readouterr().err
    assert not model_of(bundle).exists()


def test_without_a_plan_it_says_how_to_get_one(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(bundle, "--backend", "tensorrt") == 6
    told = capsys.readouterr().err
    assert "has no fp32 plan of TensorRT, and Triton runs no other" in told
    assert "--target tensorrt" in told


def test_a_file_that_was_altered_is_not_served(
    planned: Callable[[PlanSidecar], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = planned(sidecar())
    (bundle / "tensorrt.fp32.plan").write_bytes(b"A plan")
    assert export(bundle, "--backend", "tensorrt") == 6
    assert "is not the file that was built" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--name", "../up"], 2, "letters, digits"),
        (["--name=-x"], 2, "letters, digits"),
        (["--instances", "0"], 2, "at least 1"),
        (["--backend", "tensorrt", "--max-batch", "2"], 2, "a plan has the batch that it was"),
        (["--backend", "tensorrt", "--device", "cpu"], 2, "a TensorRT plan runs on a GPU"),
        (["--precision", "int8", "--device", "gpu"], 2, "is for the CPU"),
        (["--precision", "int8"], 2, "has no int8 graph"),
    ],
)
def test_what_does_not_go_together(
    bundle: Path, flags: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(bundle, *flags) == code
    assert message in capsys.readouterr().err


def test_a_folder_of_something_else_is_left_alone(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_of(bundle)
    model.mkdir(parents=True)
    (model / "thesis.tex").write_text("years of work")
    assert export(bundle) == 6
    assert "is no model of Triton's" in capsys.readouterr().err
    assert [path.name for path in model.iterdir()] == ["thesis.tex"]


def test_without_a_golden_frame_it_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    flags = ["--bundle", str(tiny_bundle), "--out", str(tmp_path)]
    assert triton_repository.main(flags) == 6


def test_without_tritonclient_it_says_what_to_install(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tritonclient.grpc.model_config_pb2", None)
    assert export(bundle) == 4
    assert "pip install 'tritonclient[grpc]'" in capsys.readouterr().err
    assert not model_of(bundle).exists()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], Any]]:
    """`server(model)`: the python backend's model, loaded and initialised as Triton does it."""
    triton = ModuleType("triton_python_backend_utils")
    parts = {
        "get_input_tensor_by_name": lambda request, name: request[name],
        "Tensor": SimpleNamespace(
            from_dlpack=lambda name, lent: SimpleNamespace(name=name, array=np.from_dlpack(lent))
        ),
        "TritonError": lambda text: text,
        "InferenceResponse": lambda tensors, error=None: SimpleNamespace(
            tensors=tensors, error=error
        ),
    }
    for name, part in parts.items():
        setattr(triton, name, part)
    monkeypatch.setitem(sys.modules, triton.__name__, triton)
    running = []

    def start(model: Path) -> Any:
        found = spec_from_file_location("served", model / "1/model.py")
        assert found is not None
        assert found.loader is not None
        module = module_from_spec(found)
        found.loader.exec_module(module)
        config = config_of(model)
        parameters = {
            name: {"string_value": value.string_value} for name, value in config.parameters.items()
        }
        served = module.TritonPythonModel()
        text = json.dumps({"name": config.name, "parameters": parameters})
        served.initialize(
            {"model_config": text, "model_repository": str(model), "model_version": "1"}
        )
        running.append(served)
        return served

    yield start
    for served in running:
        served.finalize()


def request(frame: NDArray[Any]) -> dict[str, Any]:
    return {"frames": frame}  # which DLPack takes, as it does Triton's tensors


@pytest.mark.parametrize("mode", ["off", "fast"])
def test_the_python_backend_answers_with_labels_of_the_frames_size(
    bundle: Path, server: Callable[[Path], Any], mode: str
) -> None:
    from crf import DenseCrf
    from engines.labels import upsample_argmax
    from engines.preprocess import fit_frame
    from engines.session import open_session

    assert export(bundle, "--backend", "python", "--crf", mode) == 0
    model = model_of(bundle)
    config = config_of(model)
    assert (config.backend, config.platform, config.max_batch_size) == ("python", "", 0)
    assert [list(config.input[0].dims), list(config.output[0].dims)] == [[-1, -1, 3], [-1, -1]]
    frame = np.random.default_rng(1).integers(0, 256, (70, 101, 3), dtype=np.uint8)
    served = server(model)
    good, bad, again = served.execute([request(frame), request(frame[..., 0]), request(frame)])
    assert bad.error == "frames is uint8 [H, W, 3] or [N, H, W, 3], got [70, 101]"
    (tensor,) = good.tensors
    assert tensor.name == "labels"
    opened = Bundle.open(bundle)
    with open_session(opened, "fp32") as session:
        logits = session.run(fit_frame(frame, opened.spec.input_size)[None])[0]
    if mode == "off":
        expected = upsample_argmax(logits, (70, 101))
    else:
        assert opened.spec.crf is not None
        expected = DenseCrf((70, 101), 11, opened.spec.crf, mode=mode).refine(frame, logits)
    np.testing.assert_array_equal(tensor.array, expected)
    np.testing.assert_array_equal(again.tensors[0].array, expected)


def test_the_python_backend_answers_several_frames_as_it_does_each(
    bundle: Path, server: Callable[[Path], Any], frames: Frame
) -> None:
    assert export(bundle, "--backend", "python", "--crf", "fast", "--max-batch", "4") == 0
    config = config_of(model_of(bundle))
    assert (config.max_batch_size, config.HasField("dynamic_batching")) == (4, False)
    served = server(model_of(bundle))
    responses = served.execute([request(frames), *(request(frame) for frame in frames)])
    together, *alone = (response.tensors[0].array for response in responses)
    np.testing.assert_array_equal(together, np.stack(alone))


def test_the_python_backend_verifies_its_bundle(
    bundle: Path, server: Callable[[Path], Any]
) -> None:
    from engines.failures import Refused

    assert export(bundle, "--backend", "python") == 0
    (model_of(bundle) / "1/bundle/fp32.onnx").write_bytes(b"something else")
    with pytest.raises(Refused):
        server(model_of(bundle))
