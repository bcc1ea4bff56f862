"""PyTorch from the bundle's own checkpoint: eager in two memory layouts, and compiled."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.contenders import Contender, Frame, Logits
from engines.bundle import Bundle
from engines.failures import Refused
from train.checkpoint import fill, read_weights
from train.deployable import Normalise
from train.family import build_model


def torch_peer(name: str, bundle: Bundle, threads: int) -> Contender:
    """One of `peers.TORCH`; the number of threads is the process's, so the last call decides it."""
    torch.set_num_threads(threads)
    layout = torch.channels_last if "channels-last" in name else torch.contiguous_format
    return Contender(name, torch_runner(bundle, layout, compiled="compiled" in name))


def torch_runner(
    bundle: Bundle, layout: torch.memory_format, compiled: bool = False
) -> Callable[[Frame], Logits]:
    """The network in one memory layout, its normalisation included.

    A frame arrives as NHWC, which PyTorch would carry on as channels_last by itself; the copy
    into `layout` makes the contiguous contender what its name says.
    """
    spec, file = bundle.spec, bundle.manifest.find("checkpoint")
    if file is None:
        raise Refused(f"{bundle.root} was built from ONNX and holds no checkpoint for PyTorch")
    path = bundle.root / file.name
    network = build_model(spec.architecture, len(spec.classes), spec.output_stride)
    fill(network, read_weights(path), path)
    network.eval().to(memory_format=layout)
    forward = torch.compile(network) if compiled else network
    normalise = Normalise(spec)

    @torch.inference_mode()
    def run(frame: Frame) -> Logits:
        planes = torch.from_numpy(frame)[None].permute(0, 3, 1, 2).float()
        logits: Logits = forward(normalise(planes).contiguous(memory_format=layout))[0].numpy()
        return logits

    return run
