"""The network in PyTorch with a tap on every layer, named as its exported graph names them.

Taps are put on the functions that modules call, so that results without a module of their own (a
sum, a concatenation, a resize) are seen, too. A batch norm counts to the convolution before it, as
in the graph, where it is folded.

With `forced` results each layer reads what another run computed in its place: then what it differs
by is its own error and not what it inherited.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from engines.bundle import Bundle
from engines.failures import Refused, UsageError
from export.verification.difference import Floats
from export.verification.places import Place
from export.verification.windows import Convolution
from train.checkpoint import fill, read_weights
from train.deployable import Normalise
from train.family import build_model
from train.network import Network

# What a function is called in PyTorch, and the ONNX operators that the exporter makes of it.
CONV, NORM = ("Conv",), ("BatchNormalization",)
OPERATORS: dict[str, tuple[str, ...]] = {
    "conv2d": CONV, "batch_norm": NORM,
    "relu": ("Relu",), "relu_": ("Relu",), "relu6": ("Clip",), "hardtanh": ("Clip",),
    "hardswish": ("HardSwish",), "hardsigmoid": ("HardSigmoid",), "sigmoid": ("Sigmoid",),
    "add": ("Add",), "add_": ("Add",), "__add__": ("Add",), "__iadd__": ("Add",),
    "mul": ("Mul",), "__mul__": ("Mul",), "cat": ("Concat",), "expand": ("Expand",),
    "mean": ("ReduceMean",), "adaptive_avg_pool2d": ("ReduceMean", "GlobalAveragePool"),
    "avg_pool2d": ("AveragePool",), "max_pool2d": ("MaxPool",), "interpolate": ("Resize",),
}  # fmt: skip
SMALL = (64, 64)  # a frame to learn the order of calls from


@dataclass
class Taps:
    """What one run gave: results [C, h, w] by tensor name, and the convolutions asked for by
    node name."""

    results: dict[str, Floats] = field(default_factory=dict)
    convolutions: dict[str, Convolution] = field(default_factory=dict)


class TorchNetwork:
    """A network in PyTorch on uint8 frames, in float32 or half precision."""

    def __init__(self, network: nn.Module, normalise: Normalise, places: list[Place]) -> None:
        self.network, self.normalise = network.eval(), normalise
        self.ends = {place.ends: place.result for place in places}
        self.dtype = next(network.parameters()).dtype
        self._path: list[str] = []
        self._hooks: list[int] = []
        for name, module in network.named_modules():
            enter = partial(self._enter, name)
            self._hooks.append(module.register_forward_pre_hook(enter).id)
            self._hooks.append(module.register_forward_hook(self._leave).id)
        # node of a convolution -> the paths of the batch norm after it and of itself
        self.norms: dict[str, tuple[str, str]] = {}
        self.seen = self.run(np.zeros((*SMALL, 3), np.uint8)).results.keys()

    def half(self, places: list[Place]) -> TorchNetwork:
        """A copy in half precision, with batch norms folded first, as they are in a graph."""
        # Methods of this object, copied with the hooks, would copy it along.
        network = copy.deepcopy(self.network, {id(self): self})
        for module in network.modules():
            for hook in self._hooks:  # ours alone: timm collects an Xception's features by hooks
                module._forward_pre_hooks.pop(hook, None)
                module._forward_hooks.pop(hook, None)
        for norm, conv in self.norms.values():
            fold(network.get_submodule(conv), network.get_submodule(norm))
        return TorchNetwork(network.half(), self.normalise, places)

    def run(
        self,
        frame: NDArray[np.uint8],
        forced: Mapping[str, Floats] | None = None,
        record: Collection[str] = (),
    ) -> Taps:
        """All taps for a frame [H, W, 3]; `record` names convolutions to describe.

        With `forced` results (by tensor name) a layer's own stays in the taps, and the next layer
        reads the forced one.
        """
        mode = _Recorder(self, forced or {}, record)
        images = torch.from_numpy(np.array(frame[None])).float().permute(0, 3, 1, 2)
        with torch.inference_mode():
            images = self.normalise(images).to(self.dtype)
            with mode:
                self.network(images)
        return mode.taps

    @property
    def module(self) -> str:
        """The path of the module that is running."""
        return self._path[-1] if self._path else ""

    def _enter(self, name: str, _module: nn.Module, _inputs: Any) -> None:
        self._path.append(name)

    def _leave(self, _module: nn.Module, _inputs: Any, _output: Any) -> None:
        self._path.pop()


class _Recorder(TorchFunctionMode):
    """Sees every function that the network calls, and what it returns."""

    def __init__(
        self, network: TorchNetwork, forced: Mapping[str, Floats], record: Collection[str]
    ) -> None:
        super().__init__()
        self.network, self.forced, self.record = network, forced, record
        self.taps = Taps()
        self._calls: Counter[str] = Counter()
        self._last: tuple[str, str, Any] = "", "", None  # a convolution: node, path, result

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        operators = OPERATORS.get(getattr(func, "__name__", ""), ())
        kwargs = kwargs or {}
        if not operators:
            return func(*args, **kwargs)
        if operators == NORM:
            return self._normalised(func(*args, **kwargs), args, kwargs)
        name = self._name(operators)
        if operators == CONV and name in self.record:
            self.taps.convolutions[name] = convolution(*args, **kwargs)
        result = func(*args, **kwargs)
        if operators == CONV:
            self._last = name, self.network.module, result
            if name in self.network.norms:
                return result  # not yet what the graph has here
        return self._tapped(name, result)

    def _normalised(self, result: Tensor, args: tuple[Any, ...], kwargs: Any) -> Tensor:
        name, path, made = self._last
        if args[0] is not made:
            return result
        self.network.norms[name] = self.network.module, path
        if name in self.record:
            found = self.taps.convolutions[name]
            self.taps.convolutions[name] = folded(found, *args, **kwargs)
        return self._tapped(name, result)

    def _name(self, operators: tuple[str, ...]) -> str:
        """The node that this call is in the graph, numbered as `export.naming` does.

        The exporter files some nodes under the module around the one that called.
        """
        module = self.network.module
        for path in (module, module.rpartition(".")[0]):
            for operator in operators:
                base = f"{path}/{operator}".lstrip("/")
                name = f"{base}_{self._calls[base]}" if self._calls[base] else base
                if name in self.network.ends:
                    self._calls[base] += 1
                    return name
        self._calls[base := f"{module}/{operators[0]}".lstrip("/")] += 1
        return base

    def _tapped(self, name: str, result: Tensor) -> Tensor:
        tensor = self.network.ends.get(name)
        if tensor is None:
            return result
        # Copied, as a later activation may work in place.
        self.taps.results[tensor] = result[0].float().numpy().copy()
        if tensor not in self.forced:
            return result
        return torch.from_numpy(self.forced[tensor][None].copy()).to(result.dtype)


def convolution(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, ...] = (1, 1),
    padding: tuple[int, ...] = (0, 0),
    dilation: tuple[int, ...] = (1, 1),
    groups: int = 1,
) -> Convolution:
    """Describe a call of `torch.conv2d` on one image; strides and rates must be square."""
    if stride[0] != stride[-1] or dilation[0] != dilation[-1]:
        raise Refused(f"a convolution has the stride {stride} and the rate {dilation}: not square")
    kernel = weight.double().numpy()
    return Convolution(
        features=features[0].float().numpy().copy(),
        weight=kernel,
        bias=np.zeros(len(kernel)) if bias is None else bias.double().numpy(),
        rate=dilation[0],
        stride=stride[0],
        padding=(padding[0], padding[-1], padding[0], padding[-1]),
        groups=groups,
    )


def folded(
    made: Convolution,
    _result: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    _training: bool = False,
    _momentum: float = 0.1,
    eps: float = 1e-5,
    **_options: Any,
) -> Convolution:
    """`made` with the batch norm that `torch.batch_norm` was called for, folded in float64."""
    scale = 1 / np.sqrt(variance.double().numpy() + eps)
    if weight is not None:
        scale = scale * weight.double().numpy()
    shift = 0.0 if bias is None else bias.double().numpy()
    return replace(
        made,
        weight=made.weight * scale[:, None, None, None],
        bias=(made.bias - mean.double().numpy()) * scale + shift,
    )


def fold(conv: nn.Module, norm: nn.Module) -> None:
    """Move a batch norm into the convolution before it, in place; the norm becomes nothing."""
    if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
        return
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    before = torch.zeros_like(scale) if conv.bias is None else conv.bias
    with torch.no_grad():
        conv.weight *= scale[:, None, None, None]
        conv.bias = nn.Parameter((before - norm.running_mean) * scale + norm.bias)
        norm.eps = 0.0
        for tensor, value in (
            (norm.weight, 1), (norm.bias, 0), (norm.running_mean, 0), (norm.running_var, 1)
        ):  # fmt: skip
            tensor.fill_(value)


def load_network(bundle: Bundle) -> Network:
    """The network of a bundle's own checkpoint; a bundle made from an ONNX file has none and is
    `Refused`."""
    file = bundle.manifest.find("checkpoint")
    if file is None:
        raise Refused(f"{bundle.root} was made from an ONNX file: it has no network for PyTorch")
    spec, path = bundle.spec, bundle.root / file.name
    try:
        network = build_model(spec.architecture, len(spec.classes), spec.output_stride)
    except UsageError as error:
        raise Refused(f"this version cannot build the network of {path}: {error}") from error
    fill(network, read_weights(path), path)
    return network.eval()
