"""The network on a real GPU: the same logits as on the CPU, in FP32 and close in half."""

from __future__ import annotations

import pytest
import torch

from train.family import build_model

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(1, 3, 129, 161) * 2 - 1


@pytest.fixture(scope="module")
def expected(frames: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(0)
    with torch.no_grad():
        logits: torch.Tensor = build_model("deeplabv3plus_mobilenetv2", 11).eval()(frames)
    return logits


@pytest.mark.parametrize(("dtype", "share"), [(torch.float32, 1e-4), (torch.float16, 2e-2)])
def test_logits_equal_those_of_the_cpu(
    frames: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype, share: float
) -> None:
    torch.manual_seed(0)
    model = build_model("deeplabv3plus_mobilenetv2", 11).eval().to("cuda", dtype)
    previous = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.no_grad():
            logits = model(frames.to("cuda", dtype)).float().cpu()
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = previous
    assert (logits - expected).abs().max() <= share * expected.abs().max()
