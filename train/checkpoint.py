"""A checkpoint: weights as safetensors, and `<name>.json` beside them, the spec to rebuild it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from engines.atomic import write_bytes, write_text
from engines.failures import Refused, UsageError, hint
from engines.spec import ModelSpec, load_spec
from train.family import build_model, parse
from train.network import Network

WEIGHTS = Path(__file__).resolve().parent / "weights"
DEFAULT = "camvid-mobilenetv2"


@contextmanager
def spec_of_flags() -> Iterator[None]:
    """A spec that is made in here and is none (its name is no file name, say) is a `UsageError`."""
    try:
        yield
    except ValueError as error:
        raise UsageError(f"{error}: choose another one on the command line") from error


def save_checkpoint(path: Path, network: nn.Module, spec: ModelSpec, half: bool = False) -> None:
    """Write weights and spec atomically; `half` stores floats as FP16 (loading gives FP32 back)."""
    weights = {}
    for name, value in network.state_dict().items():
        narrow = half and value.dtype == torch.float32
        weights[name] = (value.half() if narrow else value).detach().cpu().contiguous()
    write_bytes(path, save(weights))
    write_text(path.with_suffix(".json"), json.dumps(spec.to_json(), indent=1) + "\n")


def load_model(checkpoint: Path, output_stride: int | None = None) -> tuple[Network, ModelSpec]:
    """Rebuild a network in eval mode and FP32 from a checkpoint and the spec beside it.

    `output_stride` overrides the spec's: the weights do not depend on it. A file that is missing,
    corrupt or of another network raises `Refused`.
    """
    weights = read_weights(checkpoint)
    spec = load_spec(checkpoint.with_suffix(".json"))
    try:
        parse(spec.architecture).output_stride(spec.output_stride)
    except UsageError as error:
        raise Refused(f"this version cannot build the spec of {checkpoint}: {error}") from error
    stride = spec.output_stride if output_stride is None else output_stride
    network = build_model(spec.architecture, len(spec.classes), stride)
    fill(network, weights, checkpoint)
    return network.eval(), spec


def read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, floats as FP32."""
    if not checkpoint.is_file():
        raise Refused(f"no checkpoint at {checkpoint}: train one with python train/fit.py")
    try:
        weights = load_file(checkpoint)
    except (SafetensorError, OSError) as error:
        raise Refused(
            f"{checkpoint} is not a safetensors checkpoint ({error}): the download or copy may "
            "have broken off; fetch it again"
        ) from error
    return {name: t.float() if t.is_floating_point() else t for name, t in weights.items()}


def fill(network: nn.Module, weights: dict[str, Tensor], source: Path) -> None:
    """Copy `weights` into `network`; any missing, extra or misshapen tensor raises `Refused`."""
    expected = network.state_dict()
    for name in expected.keys() | weights.keys():
        ours, theirs = expected.get(name), weights.get(name)
        if ours is None or theirs is None or ours.shape != theirs.shape:
            shapes = [tuple(t.shape) if t is not None else "absent" for t in (theirs, ours)]
            raise Refused(
                f"{source} does not fit the network of its spec: {name} is {shapes[0]} in the file "
                f"and {shapes[1]} in the network; is the .json beside it the right one?"
            )
    network.load_state_dict(weights)


def bundled(name: str = DEFAULT) -> Path:
    """The path of a model that ships with the repository; unknown names raise `UsageError`."""
    path = WEIGHTS / f"{name}.safetensors"
    if path.is_file():
        return path
    names = sorted(p.stem for p in WEIGHTS.glob("*.safetensors"))
    raise UsageError(f"unknown model {name!r}: {hint(name, names, 'bundled')}")
