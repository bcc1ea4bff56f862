"""PyTorch on the GPU in FP16, from the bundle's own checkpoint: eager, and compiled."""

from __future__ import annotations

import torch

from benchmarks.contenders import Contender, Frame, Logits
from engines.bundle import Bundle
from engines.failures import DeviceMissing, Refused
from train.checkpoint import fill, read_weights
from train.deployable import Normalise
from train.family import build_model


def cuda_peer(name: str, bundle: Bundle) -> Contender:
    """Named as in gpu_speed.PEERS, at its best: channels_last, cuDNN's choice by time, CUDA graphs.

    As everybody's, its run is from a frame in the host's memory to logits there.
    """
    if not torch.cuda.is_available():
        raise DeviceMissing("this PyTorch sees no GPU: pip install torch, in its CUDA build")
    spec, file = bundle.spec, bundle.manifest.find("checkpoint")
    if file is None:
        raise Refused(f"{bundle.root} was built from ONNX and holds no checkpoint for PyTorch")
    torch.backends.cudnn.benchmark = True
    path = bundle.root / file.name
    network = build_model(spec.architecture, len(spec.classes), spec.output_stride)
    fill(network, read_weights(path), path)
    network.eval().to("cuda", torch.float16).to(memory_format=torch.channels_last)
    compiled = name == "torch-fp16-compiled"
    forward = torch.compile(network, mode="reduce-overhead") if compiled else network
    normalise = Normalise(spec).to("cuda")

    @torch.inference_mode()
    def run(frame: Frame) -> Logits:
        planes = torch.from_numpy(frame).to("cuda")[None].permute(0, 3, 1, 2).float()
        logits: Logits = forward(normalise(planes).half())[0].float().cpu().numpy()
        return logits

    return Contender(name, run)
