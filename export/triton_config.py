"""`config.pbtxt` of a model in Triton's repository, checked against Triton's own definition."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from engines.failures import DeviceMissing
from engines.spec import ModelSpec
from export.contract import INPUT, OUTPUT

LABELS = "labels.txt"
WARM_UP = "golden"  # a file in the folder `warmup`: one frame's bytes
PLATFORMS = {"onnxruntime": "onnxruntime_onnx", "tensorrt": "tensorrt_plan"}
KINDS = {"auto": "KIND_AUTO", "cpu": "KIND_CPU", "gpu": "KIND_GPU"}
QUEUE_MICROSECONDS = 2000  # that a request may wait for others: a tenth of a frame at 50 frames/s

Dims = tuple[int, ...]  # -1 is any


@dataclass(frozen=True)
class Tensor:
    """An input or output; `dims` without the batch where Triton batches, else all of them."""

    name: str
    type: str  # UINT8 or FP32
    dims: Dims

    def to_json(self) -> dict[str, Any]:
        """As ModelInput or ModelOutput."""
        return {"name": self.name, "data_type": f"TYPE_{self.type}", "dims": list(self.dims)}


@dataclass(frozen=True)
class TritonConfig:
    """What Triton must know of a model.

    Args:
        name: Its own and its folder's.
        backend: onnxruntime, tensorrt or python.
        frames: Its input.
        result: Its output.
        frame: The size (height, width) of the frame that it is warmed up with.
        max_batch: 0 for a graph of a fixed batch, which `dims` then hold.
        device: cpu, gpu or auto.
        instances: How many of it serve on each device.
        parameters: For clients, and for the python backend.
    """

    name: str
    backend: str
    frames: Tensor
    result: Tensor
    frame: tuple[int, int]
    max_batch: int
    device: str
    instances: int
    parameters: dict[str, str]

    def text(self) -> str:
        """The file.

        Raises:
            DeviceMissing: `tritonclient`, which defines the form, is not installed.
        """
        try:
            from google.protobuf import json_format, text_format  # type: ignore[import-untyped]
            from tritonclient.grpc.model_config_pb2 import ModelConfig
        except (ImportError, RuntimeError) as error:  # RuntimeError: tritonclient without grpc
            raise DeviceMissing(
                f"Triton's definition of a configuration is not here ({error}): "
                "pip install 'tritonclient[grpc]'"
            ) from None
        message = json_format.ParseDict(self.to_json(), ModelConfig())
        return str(text_format.MessageToString(message))

    def to_json(self) -> dict[str, Any]:
        """As ModelConfig."""
        data: dict[str, Any] = {
            "name": self.name,
            "backend": self.backend,
            "max_batch_size": self.max_batch,
            "input": [self.frames.to_json()],
            "output": [self.result.to_json() | {"label_filename": LABELS}],
            "instance_group": [{"kind": KINDS[self.device], "count": self.instances}],
            "model_warmup": [self._warm_up()],
            "parameters": {
                name: {"string_value": text} for name, text in sorted(self.parameters.items())
            },
        }
        if self.backend in PLATFORMS:
            data["platform"] = PLATFORMS[self.backend]
        if self.max_batch > 1 and self.backend != "python":  # which gains nothing by waiting
            data["dynamic_batching"] = {"max_queue_delay_microseconds": QUEUE_MICROSECONDS}
        return data

    def _warm_up(self) -> dict[str, Any]:
        """One golden frame, so that the first client does not pay for what happens once."""
        height, width = self.frame
        dims = [*self.frames.dims[:-3], height, width, 3]
        sample = {"data_type": f"TYPE_{self.frames.type}", "dims": dims}
        inputs = {self.frames.name: sample | {"input_data_file": WARM_UP}}
        return {"name": "golden frame", "batch_size": 1, "inputs": inputs}


def logits_config(
    spec: ModelSpec,
    backend: str,
    name: str,
    max_batch: int,
    device: str,
    instances: int,
    parameters: dict[str, str],
    dynamic_size: bool = False,
) -> TritonConfig:
    """Of a graph or plan: uint8 [N, H, W, 3] frames to float32 [N, C, h, w] logits."""
    lead: Dims = () if max_batch else (1,)
    plane, map_size = ((-1, -1), (-1, -1)) if dynamic_size else (spec.input_size, spec.logits_size)
    frames = Tensor(INPUT, "UINT8", (*lead, *plane, 3))
    logits = Tensor(OUTPUT, "FP32", (*lead, len(spec.classes), *map_size))
    return TritonConfig(
        name, backend, frames, logits, spec.input_size, max_batch, device, instances,
        described(spec) | parameters,
    )  # fmt: skip


def labels_config(
    spec: ModelSpec,
    name: str,
    max_batch: int,
    device: str,
    instances: int,
    parameters: dict[str, str],
) -> TritonConfig:
    """Of the python backend: a uint8 [H, W, 3] frame of any size to its uint8 [H, W] labels, and
    where Triton batches, up to `max_batch` of one size."""
    frame, labels = Tensor(INPUT, "UINT8", (-1, -1, 3)), Tensor("labels", "UINT8", (-1, -1))
    return TritonConfig(
        name, "python", frame, labels, spec.input_size, max_batch, device, instances,
        described(spec) | parameters,
    )  # fmt: skip


def described(spec: ModelSpec) -> dict[str, str]:
    """What a client needs to draw the result."""
    return {
        "classes": json.dumps(spec.classes),
        "palette": json.dumps(spec.palette),
        "logits_stride": str(spec.logits_stride),
        "resize": spec.resize,
    }
