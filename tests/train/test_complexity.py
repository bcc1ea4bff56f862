"""Multiply-adds: by hand, by PyTorch's own counter, by space_to_batch, and as published."""

from __future__ import annotations

import json
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import timm.models.efficientnet
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from train.complexity import Options, Tables, main, run
from train.cost import Images, Strategy, build, cost
from train.family import ARCHITECTURES, build_model
from train.multiply_adds import convolution, count, passes

SIZE = (65, 97)


def test_a_layer_by_hand() -> None:
    dense = nn.Conv2d(8, 4, 3, padding=6, dilation=6)
    assert convolution(dense, (33, 33)).plain == 9 * 8 * 4 * 33 * 33
    assert convolution(dense, (33, 33)).space_to_batch == 9 * 8 * 4 * 36 * 36
    depthwise = nn.Conv2d(8, 8, 3, padding=12, dilation=12, groups=8)
    assert convolution(depthwise, (5, 25)).space_to_batch == 9 * 8 * 12 * 36
    plain = nn.Conv2d(8, 4, (1, 5), stride=2)
    assert convolution(plain, (7, 9)).plain == convolution(plain, (7, 9)).space_to_batch
    assert convolution(plain, (7, 9)).plain == 5 * 8 * 4 * 7 * 9


@pytest.mark.parametrize("size", [(33, 33), (20, 41)], ids=str)
@pytest.mark.parametrize("rate", [2, 6, 12, 36])
def test_space_to_batch_does_what_is_counted(rate: int, size: tuple[int, int]) -> None:
    """TensorFlow 1's own steps, with the result of the atrous layer and the cost of a plain one."""
    torch.manual_seed(rate)
    conv = nn.Conv2d(3, 2, 3, padding=rate, dilation=rate, bias=False)
    features = torch.randn(1, 3, *size)
    down, across = (ceil(pixels / rate) * rate for pixels in size)
    border = (rate, rate + across - size[1], rate, rate + down - size[0])
    padded = functional.pad(features, border)
    phases = [(row, column) for row in range(rate) for column in range(rate)]
    maps = torch.cat([padded[:, :, row::rate, column::rate] for row, column in phases])
    results = functional.conv2d(maps, conv.weight)
    whole = torch.zeros(1, 2, down, across)
    for (row, column), result in zip(phases, results, strict=True):
        whole[0, :, row::rate, column::rate] = result
    torch.testing.assert_close(whole[:, :, : size[0], : size[1]], conv(features))
    each_output = 9 * 3
    assert convolution(conv, size).space_to_batch == results.numel() * each_output


def plain_by_pytorch(network: nn.Module, size: tuple[int, int]) -> float:
    """Multiply-adds by PyTorch's counter, which calls one two operations."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.empty(1, 3, *size, device="meta"))
    return float(counter.get_total_flops()) / 2


@pytest.mark.parametrize(
    ("architecture", "output_stride"),
    [
        ("deeplabv1_vgg16", 8),
        ("deeplabv2_mobilenetv2,aspp-s", 8),
        ("deeplabv3_resnet50", 16),
        ("deeplabv3plus_mobilenetv3", 32),
        ("deeplabv3plus_xception_slim,no-decoder", 8),
    ],
)
def test_plain_count_equals_pytorchs(architecture: str, output_stride: int) -> None:
    network, _, _ = build(architecture, 21, output_stride)
    assert count(network, SIZE).plain == plain_by_pytorch(network, SIZE)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_plain_count_of_every_member_equals_pytorchs(architecture: str) -> None:
    for output_stride in ARCHITECTURES[architecture].strides:
        network, _, _ = build(architecture, 21, output_stride)
        ours = count(network, SIZE)
        assert ours.plain == plain_by_pytorch(network, SIZE)
        assert ours.space_to_batch >= ours.plain


def test_a_network_with_weights_counts_as_one_without() -> None:
    torch.manual_seed(0)
    real = build_model("deeplabv3plus_mobilenetv2", 3).eval()
    image = torch.randn(1, 3, *SIZE)
    with torch.inference_mode():
        before = real(image)
        counted = count(real, SIZE)
        torch.testing.assert_close(real(image), before)  # counting left nothing behind
    assert counted == count(build("deeplabv3plus_mobilenetv2", 3, 16)[0], SIZE)


def test_multi_scale_takes_a_pass_per_scale_and_mirror_image() -> None:
    scales = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    sides = [257, 385, 513, 641, 769, 897]  # 32 k + 1, as the papers have them
    assert passes((513, 513), scales) == [(side, side) for side in sides]
    assert passes((1025, 2049), (0.75,), flip=True) == [(769, 1537)] * 2
    name, images = "deeplabv3plus_mobilenetv2", Images((129, 65), 5)
    both = cost(name, 16, images, Strategy((0.5, 1.0), flip=True))
    half = cost(name, 16, Images((65, 33), 5), Strategy())
    whole = cost(name, 16, images, Strategy())
    assert both.gmacs == pytest.approx(2 * (half.gmacs + whole.gmacs))
    assert both.params == whole.params == sum(p.numel() for p in build_model(name, 5).parameters())


@pytest.fixture(scope="module")
def tables() -> Tables:
    result = run(Options(table5=True))
    assert isinstance(result, Tables)
    return result


def test_all_rows_of_table_5_are_reproduced(tables: Tables) -> None:
    assert [row.row for row in tables.rows] == list(range(1, 25))
    errors = [abs(row.gmacs / row.published_gmacs - 1) * 100 for row in tables.rows]
    assert max(errors) == pytest.approx(tables.max_error_percent)
    assert max(errors) < 0.25
    assert all(row.plain_gmacs < row.gmacs for row in tables.rows)
    assert all(row.published_miou for row in tables.rows)


def test_padding_is_what_the_plain_count_lacks(tables: Tables) -> None:
    """Dense ASPP is where it weighs; a separable head has little to pad."""
    missing = {row.row: 1 - row.plain_gmacs / row.published_gmacs for row in tables.rows}
    assert min(missing[row] for row in range(1, 13)) > 0.03
    assert max(missing[row] for row in range(13, 25)) < 0.003


def test_other_published_numbers_are_reproduced_or_explained(tables: Tables) -> None:
    for row in tables.zoo:
        assert abs(row.error_percent) < 0.5 or row.note, row
    exact = [row for row in tables.zoo if not row.note]
    assert len(exact) >= 8
    assert max(abs(row.error_percent) for row in exact) < 0.5


def test_half_width_with_the_originals_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The zoo's network keeps 24 x 0.5 = 12 channels, which timm rounds to a multiple of 8."""
    efficientnet: Any = timm.models.efficientnet
    rounded = efficientnet.round_channels

    def kept(channels: float, multiplier: float = 1.0, *args: Any, **kwargs: Any) -> int:
        if channels == 24:
            return int(channels * multiplier)
        return int(rounded(channels, multiplier, *args, **kwargs))

    monkeypatch.setattr(efficientnet, "round_channels", kept)
    for output_stride, giga in ((16, 0.868), (8, 2.826)):
        with torch.device("meta"):
            network = build_model("deeplabv3_mobilenetv2,no-atrous,width=0.5", 21, output_stride)
        total = count(network.eval(), (513, 513)).space_to_batch
        assert total / 1e9 == pytest.approx(giga, abs=0.0005)


@pytest.mark.parametrize(
    ("output_stride", "modifier", "giga"),
    [(16, "multi-grid", 80.83), (8, "multi-grid", 275.94), (16, "no-multi-grid", 79.46)],
)
def test_resnet_with_the_originals_strides(output_stride: int, modifier: str, giga: float) -> None:
    """v3+, table 3 has 81.02 and 276.18, and with a decoder, which adds 21.76, 101.28."""
    with torch.device("meta"):
        network = build_model(f"deeplabv3_resnet101,beta,{modifier}", 21, output_stride).eval()
    turn_into_the_original(network.backbone)
    total = count(network, (513, 513)).space_to_batch
    assert total / 1e9 == pytest.approx(giga, abs=0.005)


def turn_into_the_original(resnet: nn.Module) -> None:
    """Move each stride from a stage's first unit to the last unit before it (resnet_v1_beta.py);
    behind it, all units of a stage have one rate, but for the multi-grid."""
    stages: list[Any] = [resnet.get_submodule(f"layer{number}") for number in (1, 2, 3, 4)]
    for before, stage in pairwise(stages):
        last, first = before[-1], stage[0]
        if first.conv2.stride == (2, 2):
            last.conv2.stride = (2, 2)
            last.downsample = nn.MaxPool2d(1, 2)  # the identity shortcut, subsampled
            first.conv2.stride = first.downsample[0].stride = (1, 1)
        elif stage[1].conv2.dilation == stage[2].conv2.dilation:
            first.conv2.dilation = first.conv2.padding = stage[1].conv2.dilation


def test_flags_are_the_modifiers_of_the_same_name() -> None:
    flags = run(Options(model="deeplabv3plus_mobilenetv2", no_decoder=True, dense=True))
    assert flags == run(Options(model="deeplabv3plus_mobilenetv2,no-decoder,dense"))


def test_the_command_writes_what_it_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cost.json"
    text = "--model deeplabv3plus_mobilenetv2 --size 360x480 --output-stride 8 --classes 11 --json"
    assert main([*text.split(), str(file)]) == 0
    stored = json.loads(file.read_text())
    assert stored["size"] == [360, 480]
    # 8.56 with the 144 low-level channels of the official network, which has 24 here
    assert stored["plain_gmacs"] == pytest.approx(8.56 - 48 * 120 * 90 * 120 / 1e9, abs=0.006)
    assert stored["gmacs"] > stored["plain_gmacs"]
    assert f"{stored['plain_gmacs']:.2f} G, as executed" in capsys.readouterr().out


def test_the_command_prints_the_largest_error(
    tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "t5.json"
    assert main(["--table5", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert f"largest error of the 24 rows: {tables.max_error_percent:.2f} %" in printed
    stored = json.loads(file.read_text())
    keys = {"row", "published_gmacs", "published_miou", "gmacs", "plain_gmacs", "error_percent"}
    assert all(keys <= set(row) for row in stored["rows"] + stored["zoo"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "give either --table5 or --model"),
        ("--table5 --model deeplabv1_vgg16", "give either --table5 or --model"),
        ("--table5 --flip", "only --json goes with it"),
        ("--model deeplabv3_resnet5", "did you mean deeplabv3_resnet50"),
        ("--model deeplabv1_vgg16 --no-decoder", "no modifier 'no-decoder'"),
        ("--model deeplabv1_vgg16 --output-stride 16", "cannot run at output stride 16"),
        ("--model deeplabv1_vgg16 --size 0x9", "--size and --classes must be at least 1"),
        ("--model deeplabv1_vgg16 --scales 9", "--scales must lie between"),
    ],
)
def test_bad_input_is_one_sentence(
    text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(text.split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [("--size 513", "expected HxW, e.g. 360x480"), ("--scales 1,x", "expected S,S, e.g. 0.75,1")],
)
def test_unreadable_flags_are_refused(
    flags: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--model", "deeplabv1_vgg16", *flags.split()])
    assert message in capsys.readouterr().err


def test_scales_and_mirror_images_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--size", "65x65", "--scales", "0.5,1", "--flip"]
    assert main(["--model", "deeplabv1_vgg16", *flags]) == 0
    assert "65x65, output stride 8, 2 scales, mirrored" in capsys.readouterr().out
