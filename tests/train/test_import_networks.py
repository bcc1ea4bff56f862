"""Imported checkpoints of two repositories give the outputs that their own code would.

Their code is not at hand. What stands here was written from reading it: plain functions over a
state dict that is keyed as theirs, drawn at random while the functions first run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from train.checkpoint import load_model
from train.import_checkpoint import Options, Result, run

CLASSES = 21
# MobileNetV2: channels, blocks, stride
STAGES = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))


class Drawn(dict[str, Tensor]):
    """A state dict that draws a tensor when it is first asked for."""

    def draw(self, key: str, make: Callable[[], Tensor]) -> Tensor:
        """Kept as FP32, used as FP64: what is then compared is arithmetic, not its rounding."""
        if key not in self:
            self[key] = make()
        return self[key].double()

    def conv(self, x: Tensor, key: str, outputs: int, kernel: int = 1, **how: int) -> Tensor:
        inputs = x.shape[1] // how.get("groups", 1)
        scale = math.sqrt(2 / (inputs * kernel**2))
        shape = (outputs, inputs, kernel, kernel)
        weight = self.draw(f"{key}.weight", lambda: torch.randn(shape) * scale)
        return functional.conv2d(x, weight, None, **how)

    def classify(self, x: Tensor, key: str) -> Tensor:
        bias = self.draw(f"{key}.bias", lambda: torch.randn(CLASSES))
        return self.conv(x, key, CLASSES) + bias.view(1, -1, 1, 1)

    def norm(self, x: Tensor, key: str) -> Tensor:
        """Batch norm in evaluation mode, epsilon 1e-5."""
        count = x.shape[1]
        mean = self.draw(f"{key}.running_mean", lambda: 0.1 * torch.randn(count))
        var = self.draw(f"{key}.running_var", lambda: 0.5 + torch.rand(count))
        gamma = self.draw(f"{key}.weight", lambda: 0.5 + torch.rand(count))
        beta = self.draw(f"{key}.bias", lambda: 0.3 * torch.randn(count))
        self.draw(f"{key}.num_batches_tracked", lambda: torch.tensor(7))
        scale = gamma / torch.sqrt(var + 1e-5)
        return x * scale.view(1, -1, 1, 1) + (beta - mean * scale).view(1, -1, 1, 1)

    def layer(
        self, x: Tensor, conv: str, norm: str, outputs: int, kernel: int = 1, **how: int
    ) -> Tensor:
        """Convolution, batch norm, ReLU."""
        return functional.relu(self.norm(self.conv(x, conv, outputs, kernel, **how), norm))


def resize(x: Tensor, like: Tensor, corners: bool) -> Tensor:
    return functional.interpolate(x, like.shape[2:], mode="bilinear", align_corners=corners)


def relu6(x: Tensor) -> Tensor:
    return x.clamp(0, 6)


def bottleneck(w: Drawn, x: Tensor, key: str, width: int, stride: int, rate: int) -> Tensor:
    y = w.layer(x, f"{key}.conv1", f"{key}.bn1", width)
    how = {"stride": stride, "padding": rate, "dilation": rate}
    y = w.layer(y, f"{key}.conv2", f"{key}.bn2", width, 3, **how)
    y = w.norm(w.conv(y, f"{key}.conv3", 4 * width), f"{key}.bn3")
    if x.shape[1] != 4 * width or stride != 1:
        x = w.conv(x, f"{key}.downsample.0", 4 * width, stride=stride)
        x = w.norm(x, f"{key}.downsample.1")
    return functional.relu(y + x)


def resnet(
    w: Drawn, x: Tensor, units: Sequence[int], rates: Sequence[Sequence[int]]
) -> list[Tensor]:
    """The outputs of layers 1 and 4; a layer of rate > 1, or after one, does not stride."""
    x = w.layer(x, "backbone.conv1", "backbone.bn1", 64, 7, stride=2, padding=3)
    x = functional.max_pool2d(x, 3, 2, 1)
    outputs = []
    for layer, (count, layer_rates) in enumerate(zip(units, rates, strict=True)):
        for unit in range(count):
            stride = 2 if unit == 0 and layer and max(layer_rates) == 1 else 1
            key = f"backbone.layer{layer + 1}.{unit}"
            rate = layer_rates[min(unit, len(layer_rates) - 1)]
            x = bottleneck(w, x, key, 64 * 2**layer, stride, rate)
        outputs.append(x)
    return [outputs[0], outputs[3]]


def inverted_residual(
    w: Drawn, x: Tensor, keys: list[tuple[str, str]], outputs: int, stride: int, rate: int
) -> Tensor:
    """`keys` are (convolution, batch norm) of [expansion,] depthwise and projection."""
    y = functional.pad(x, (rate, rate, rate, rate))
    if len(keys) == 3:
        y = relu6(w.norm(w.conv(y, keys[0][0], 6 * x.shape[1]), keys[0][1]))
    how = {"stride": stride, "dilation": rate, "groups": y.shape[1]}
    y = relu6(w.norm(w.conv(y, keys[-2][0], y.shape[1], 3, **how), keys[-2][1]))
    y = w.norm(w.conv(y, keys[-1][0], outputs), keys[-1][1])
    return x + y if stride == 1 and x.shape == y.shape else y


def mobilenet(
    w: Drawn,
    x: Tensor,
    stem_padding: int,
    rates: dict[int, tuple[int, int]],
    block_keys: Callable[[bool], list[tuple[str, str]]],
) -> list[Tensor]:
    """`rates` are those of the first and the other blocks of stages that have no stride left."""
    x = w.conv(x, "backbone.low_level_features.0.0", 32, 3, stride=2, padding=stem_padding)
    x = relu6(w.norm(x, "backbone.low_level_features.0.1"))
    index, low_level = 0, x
    for stage, (outputs, blocks, stride) in enumerate(STAGES):
        for block in range(blocks):
            index += 1
            part = "low_level_features" if index < 4 else "high_level_features"
            prefix = f"backbone.{part}.{index}.conv"
            keys = [(f"{prefix}.{c}", f"{prefix}.{n}") for c, n in block_keys(stage > 0)]
            first, others = rates.get(stage, (1, 1))
            step = stride if block == 0 and stage not in rates else 1
            x = inverted_residual(w, x, keys, outputs, step, others if block else first)
            low_level = x if index == 3 else low_level
    return [low_level, x]


def pyramid(
    w: Drawn,
    x: Tensor,
    branches: list[tuple[str, str]],
    project: tuple[str, str],
    rates: Sequence[int],
) -> Tensor:
    """`branches` are (convolution, batch norm) of 1x1, the three rates and the image pooling."""
    parts = [w.layer(x, *branches[0], 256)]
    for keys, rate in zip(branches[1:4], rates, strict=True):
        parts.append(w.layer(x, *keys, 256, 3, padding=rate, dilation=rate))
    pooled = w.layer(x.mean(dim=(2, 3), keepdim=True), *branches[4], 256)
    return w.layer(torch.cat([*parts, pooled.expand_as(parts[0])], 1), *project, 256)


def vainf(name: str, stride: int) -> Callable[[Drawn, Tensor], Tensor]:
    rates = (6, 12, 18) if stride == 16 else (12, 24, 36)

    def nested(expands: bool) -> list[tuple[str, str]]:
        return (
            [("0.0", "0.1"), ("1.0", "1.1"), ("2", "3")]
            if expands
            else [("0.0", "0.1"), ("1", "2")]
        )

    def trunk(w: Drawn, x: Tensor) -> list[Tensor]:
        if name.endswith("mobilenet"):
            dilated = (
                {5: (1, 2), 6: (2, 2)}
                if stride == 16
                else {3: (1, 2), 4: (2, 2), 5: (2, 4), 6: (4, 4)}
            )
            return mobilenet(w, x, 0, dilated, nested)
        last = [(1,), (1,), (1,), (1, 2)] if stride == 16 else [(1,), (1,), (1, 2), (2, 4)]
        return resnet(w, x, (3, 4, 23 if "101" in name else 6, 3), last)

    def aspp(w: Drawn, x: Tensor, key: str) -> Tensor:
        branches = [(f"{key}.convs.{n}.0", f"{key}.convs.{n}.1") for n in range(4)]
        branches.append((f"{key}.convs.4.1", f"{key}.convs.4.2"))
        return pyramid(w, x, branches, (f"{key}.project.0", f"{key}.project.1"), rates)

    def forward(w: Drawn, x: Tensor) -> Tensor:
        low, last = trunk(w, x)
        key = "classifier.classifier"
        if name.startswith("deeplabv3plus"):
            low = w.layer(low, "classifier.project.0", "classifier.project.1", 48)
            y = torch.cat((low, resize(aspp(w, last, "classifier.aspp"), low, corners=False)), 1)
            y = w.layer(y, f"{key}.0", f"{key}.1", 256, 3, padding=1)
            return w.classify(y, f"{key}.3")
        y = w.layer(aspp(w, last, f"{key}.0"), f"{key}.1", f"{key}.2", 256, 3, padding=1)
        return w.classify(y, f"{key}.4")

    return forward


def separable(
    w: Drawn, x: Tensor, key: str, outputs: int, stride: int = 1, rate: int = 1
) -> Tensor:
    how = {"stride": stride, "padding": rate, "dilation": rate, "groups": x.shape[1]}
    x = w.norm(w.conv(x, f"{key}.conv1", x.shape[1], 3, **how), f"{key}.bn")
    return w.conv(x, f"{key}.pointwise", outputs)


def xception_block(
    w: Drawn, x: Tensor, key: str, widths: Sequence[int], rate: int, last: int, relu_first: bool
) -> Tensor:
    """The ReLU at the start works in place on what the shortcut reads."""
    if relu_first:
        x = functional.relu(x)
    y, index = x, int(relu_first)
    steps = [(width, 1, rate) for width in widths] + ([(widths[-1], last, 1)] if last else [])
    for step, (width, stride, step_rate) in enumerate(steps):
        y = separable(
            w, functional.relu(y) if step else y, f"{key}.rep.{index}", width, stride, step_rate
        )
        y = w.norm(y, f"{key}.rep.{index + 1}")
        index += 3
    if x.shape[1] != widths[-1]:
        x = w.norm(w.conv(x, f"{key}.skip", widths[-1], stride=max(1, last)), f"{key}.skipbn")
    return y + x


def xception(w: Drawn, x: Tensor, stride: int) -> list[Tensor]:
    rate = 16 // stride
    x = w.layer(x, "backbone.conv1", "backbone.bn1", 32, 3, stride=2, padding=1)
    x = w.layer(x, "backbone.conv2", "backbone.bn2", 64, 3, padding=1)
    low = functional.relu(xception_block(w, x, "backbone.block1", (128, 128), 1, 2, False))
    x = xception_block(w, low, "backbone.block2", (256, 256), 1, 2, False)
    x = xception_block(w, x, "backbone.block3", (728, 728), 1, 2 if stride == 16 else 1, True)
    for block in range(4, 20):
        x = xception_block(w, x, f"backbone.block{block}", (728, 728, 728), rate, 0, True)
    x = functional.relu(xception_block(w, x, "backbone.block20", (728, 1024), rate, 1, True))
    for index, width in ((3, 1536), (4, 1536), (5, 2048)):
        y = separable(w, x, f"backbone.conv{index}", width, rate=2 * rate)
        x = functional.relu(w.norm(y, f"backbone.bn{index}"))
    return [low, x]


def drn(w: Drawn, x: Tensor) -> list[Tensor]:
    def plain(x: Tensor, layer: int, outputs: int, kernel: int = 3, **how: int) -> Tensor:
        key = f"backbone.layer{layer}"
        return w.layer(x, f"{key}.0", f"{key}.1", outputs, kernel, **how)

    x = plain(x, 0, 16, 7, padding=3)
    x = plain(plain(x, 1, 16, padding=1), 2, 32, padding=1, stride=2)
    low = x
    for layer, width, units, stride, rate in (
        (3, 64, 3, 2, 1),
        (4, 128, 4, 2, 1),
        (5, 256, 6, 1, 2),
        (6, 512, 3, 1, 4),
    ):
        for unit in range(units):
            key = f"backbone.layer{layer}.{unit}"
            x = bottleneck(w, x, key, width, 1 if unit else stride, rate)
        low = x if layer == 3 else low
    x = plain(x, 7, 512, padding=2, dilation=2)
    return [low, plain(x, 8, 512, padding=1)]


def jfzhang95(name: str, stride: int) -> Callable[[Drawn, Tensor], Tensor]:
    rates = (6, 12, 18) if stride == 16 else (12, 24, 36)

    def flat(expands: bool) -> list[tuple[str, str]]:
        return [("0", "1"), ("3", "4"), ("6", "7")] if expands else [("0", "1"), ("3", "4")]

    def trunk(w: Drawn, x: Tensor) -> list[Tensor]:
        if name == "mobilenet":
            dilated = (
                {5: (1, 1), 6: (2, 2)}
                if stride == 16
                else {3: (1, 1), 4: (2, 2), 5: (2, 2), 6: (4, 4)}
            )
            return mobilenet(w, x, 1, dilated, flat)
        if name == "resnet":
            grid = [(1,), (1,), (1,), (2, 4, 8)] if stride == 16 else [(1,), (1,), (2,), (4, 8, 16)]
            return resnet(w, x, (3, 4, 23, 3), grid)
        return xception(w, x, stride) if name == "xception" else drn(w, x)

    def forward(w: Drawn, x: Tensor) -> Tensor:
        low, last = trunk(w, x)
        branches = [(f"aspp.aspp{n}.atrous_conv", f"aspp.aspp{n}.bn") for n in (1, 2, 3, 4)]
        branches.append(("aspp.global_avg_pool.1", "aspp.global_avg_pool.2"))
        coarse = pyramid(w, last, branches, ("aspp.conv1", "aspp.bn1"), rates)
        low = w.layer(low, "decoder.conv1", "decoder.bn1", 48)
        y = torch.cat((resize(coarse, low, corners=True), low), 1)
        for index in (0, 4):
            key = "decoder.last_conv"
            y = w.layer(y, f"{key}.{index}", f"{key}.{index + 1}", 256, 3, padding=1)
        return w.classify(y, "decoder.last_conv.8")

    return forward


REFERENCES = {"vainf": vainf, "jfzhang95": jfzhang95}
SIZE = (64, 96)


def imported(tmp_path: Path, weights: dict[str, Tensor], repository: str, **options: Any) -> Result:
    path = tmp_path / "theirs.pth"
    torch.save({"state_dict": dict(weights)}, path)
    return run(Options(repository, path, "voc", tmp_path / "ours", input_size=SIZE, **options))


def draw_images() -> Tensor:
    return torch.randn(1, 3, *SIZE, dtype=torch.float64)


def outputs_of(result: Result, images: Tensor) -> Tensor:
    """Normalised images [N, 3, H, W] -> logits of the network that its spec rebuilds."""
    logits: Tensor = load_model(result.checkpoint)[0].double()(images)
    return logits


HEAVY = pytest.mark.slow
CASES = [
    pytest.param("vainf", "deeplabv3plus_mobilenet", 16, id="vainf-plus-mobilenet"),
    pytest.param("vainf", "deeplabv3plus_mobilenet", 8, id="vainf-plus-mobilenet-8"),
    pytest.param("vainf", "deeplabv3_mobilenet", 16, id="vainf-mobilenet"),
    pytest.param("vainf", "deeplabv3_resnet50", 16, id="vainf-resnet50", marks=HEAVY),
    pytest.param("vainf", "deeplabv3plus_resnet50", 8, id="vainf-plus-resnet50-8", marks=HEAVY),
    pytest.param("vainf", "deeplabv3plus_resnet101", 16, id="vainf-plus-resnet101", marks=HEAVY),
    pytest.param("jfzhang95", "mobilenet", 16, id="jfzhang95-mobilenet"),
    pytest.param("jfzhang95", "mobilenet", 8, id="jfzhang95-mobilenet-8"),
    pytest.param("jfzhang95", "resnet", 16, id="jfzhang95-resnet", marks=HEAVY),
    pytest.param("jfzhang95", "resnet", 8, id="jfzhang95-resnet-8", marks=HEAVY),
    pytest.param("jfzhang95", "xception", 16, id="jfzhang95-xception", marks=HEAVY),
    pytest.param("jfzhang95", "xception", 8, id="jfzhang95-xception-8", marks=HEAVY),
    pytest.param("jfzhang95", "drn", 8, id="jfzhang95-drn", marks=HEAVY),
]


@torch.inference_mode()
@pytest.mark.parametrize(("repository", "name", "stride"), CASES)
def test_outputs_are_theirs(repository: str, name: str, stride: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights, images = Drawn(), draw_images()
    expected = REFERENCES[repository](name, stride)(weights, images)
    result = imported(tmp_path, weights, repository, output_stride=stride)
    assert name in result.spec.architecture
    assert expected.std() > 0.1
    torch.testing.assert_close(outputs_of(result, images), expected)


@torch.inference_mode()
def test_full_size_logits_lie_on_their_grid(tmp_path: Path) -> None:
    weights, images = Drawn(), draw_images()
    expected = resize(jfzhang95("mobilenet", 16)(weights, images), images, corners=True)
    result = imported(tmp_path, weights, "jfzhang95", full_size=True)
    assert (result.spec.logits_stride, result.spec.logits_size) == (1, SIZE)
    torch.testing.assert_close(outputs_of(result, images), expected)


@torch.inference_mode()
def test_earlier_files_are_read_too(tmp_path: Path) -> None:
    """MobileNetV2 a second time as `features.`, a decoder without dropout, DataParallel."""
    weights, images = Drawn(), draw_images()
    expected = jfzhang95("mobilenet", 16)(weights, images)
    earlier = {}
    for key, value in weights.items():
        for now, then in (("4", "3"), ("5", "4"), ("8", "6")):
            if key.startswith(f"decoder.last_conv.{now}."):
                key = key.replace(f"last_conv.{now}.", f"last_conv.{then}.")
                break
        earlier[f"module.{key}"] = value
        if "_level_features" in key:
            again = key.replace("low_level_features", "features")
            earlier[f"module.{again.replace('high_level_features', 'features')}"] = value
    result = imported(tmp_path, earlier, "jfzhang95")
    torch.testing.assert_close(outputs_of(result, images), expected)
    assert result.left_out == sum(".features." in key for key in earlier) > 100
