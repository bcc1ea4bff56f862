"""Imported checkpoints of two libraries give what the libraries' own networks give."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import segmentation

from engines.failures import DeviceMissing, UsageError
from train.checkpoint import load_model
from train.deployable import Deployable
from train.family import build_model
from train.import_checkpoint import Options, Result, run

SIZE = (64, 96)


@pytest.fixture
def smp() -> Any:
    return pytest.importorskip("segmentation_models_pytorch", reason="an optional dependency")


def shaken(network: nn.Module) -> nn.Module:
    """Batch norms as after training, so that every one of their tensors matters."""
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.running_mean, layer.bias):
                assert tensor is not None
                tensor.data.normal_(0, 0.1, generator=generator)
            for tensor in (layer.running_var, layer.weight):
                assert tensor is not None
                tensor.data.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


def imported(folder: Path, network: nn.Module, repository: str, **options: Any) -> Result:
    path = folder / "theirs.pth"
    torch.save(network.state_dict(), path)
    return run(Options(repository, path, "voc", folder / "ours", input_size=SIZE, **options))


def compare(result: Result, network: nn.Module, full_size: bool = True) -> None:
    """Their output is ours, after the resize to the input's size where theirs includes it."""
    images = torch.randn(1, 3, *SIZE, dtype=torch.float64)
    with torch.inference_mode():
        expected = network.double()(images)
        expected = expected["out"] if isinstance(expected, dict) else expected
        ours: Tensor = load_model(result.checkpoint)[0].double()(images)
        if full_size:
            ours = nn.functional.interpolate(ours, SIZE, mode="bilinear", align_corners=False)
    assert expected.std() > 0
    torch.testing.assert_close(ours, expected)


def torchvision_network(name: str, aux: bool) -> nn.Module:
    torch.manual_seed(0)
    build = getattr(segmentation, name)
    return shaken(build(weights=None, weights_backbone=None, num_classes=21, aux_loss=aux))


def test_torchvision_mobilenet(tmp_path: Path) -> None:
    network = torchvision_network("deeplabv3_mobilenet_v3_large", aux=True)
    result = imported(tmp_path, network, "torchvision")
    assert result.spec.architecture == "torchvision_deeplabv3_mobilenet_v3_large"
    assert (result.spec.output_stride, result.spec.logits_stride) == (16, 16)
    assert result.left_out == sum("aux_classifier" in key for key in network.state_dict()) > 0
    compare_raw(result, network)
    compare(result, network)


def compare_raw(result: Result, network: nn.Module) -> None:
    """uint8 frames through what is deployed, against torchvision's own preset."""
    frames = torch.randint(0, 256, (1, *SIZE, 3), dtype=torch.uint8)
    weights = segmentation.DeepLabV3_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1
    preset = weights.transforms(resize_size=SIZE[0])
    loaded, spec = load_model(result.checkpoint)
    with torch.inference_mode():
        expected = network(preset(frames.permute(0, 3, 1, 2)))["out"]
        ours = Deployable(loaded, spec).eval()(frames)
        ours = nn.functional.interpolate(ours, SIZE, mode="bilinear", align_corners=False)
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [50, 101])
def test_torchvision_resnet(depth: int, tmp_path: Path) -> None:
    network = torchvision_network(f"deeplabv3_resnet{depth}", aux=False)
    result = imported(tmp_path, network, "torchvision")
    assert (result.spec.output_stride, result.spec.logits_stride) == (8, 8)
    compare(result, network)


SMALL = "tu-mobilenetv3_small_050"  # any timm network serves as an encoder
STRIDE_8 = {"encoder_output_stride": 8}
RATES = {"decoder_atrous_rates": (6, 12, 18), "decoder_channels": 64}
SEPARABLE = {"encoder_output_stride": 16, "decoder_aspp_separable": True}


@pytest.mark.parametrize(
    ("name", "encoder", "network_options", "options"),
    [
        ("DeepLabV3Plus", SMALL, RATES, {"rates": "6-12-18"}),
        ("DeepLabV3", SMALL, SEPARABLE, {"output_stride": 16}),
        pytest.param("DeepLabV3", "resnet18", {}, {}, marks=pytest.mark.slow),
        pytest.param("DeepLabV3Plus", "resnet34", {}, {}, marks=pytest.mark.slow),
        pytest.param(
            "DeepLabV3Plus",
            "mobilenet_v2",
            {"decoder_aspp_separable": False, **STRIDE_8},
            {"output_stride": 8},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_segmentation_models_pytorch(
    smp: Any,
    name: str,
    encoder: str,
    network_options: dict[str, Any],
    options: dict[str, Any],
    tmp_path: Path,
) -> None:
    build = getattr(smp, name)
    torch.manual_seed(0)
    network = shaken(build(encoder, encoder_weights=None, classes=21, **network_options))
    result = imported(tmp_path, network, "smp", encoder=encoder, full_size=True, **options)
    assert result.spec.architecture.startswith(f"smp_{name.lower()},encoder={encoder}")
    compare(result, network, full_size=False)


def test_smp_logits_at_their_own_stride(smp: Any, tmp_path: Path) -> None:
    network: Any = shaken(smp.DeepLabV3Plus(SMALL, encoder_weights=None, classes=21))
    result = imported(tmp_path, network, "smp", encoder=SMALL)
    assert result.spec.logits_stride == 4
    network.segmentation_head = network.segmentation_head[0]  # less the resize, corners on corners
    compare(result, network, full_size=False)


@pytest.mark.parametrize(
    ("architecture", "sentence"),
    [
        ("smp_deeplabv3plus", "needs its encoder, as in smp_deeplabv3plus,encoder=resnet34"),
        ("smp_deeplabv3plus,encoder=resnet9", "cannot build this: .*Wrong encoder name `resnet9`"),
        ("smp_deeplabv3,encoder=resnet18,rates=6-x", "'x' is no whole number"),
        ("smp_deeplabv3,encoder=resnet18,rates=6-9", "cannot build this"),
        ("smp_deeplab,encoder=resnet18", "did you mean smp_deeplabv3"),
        ("smp_deeplabv3,width=2", "smp_deeplabv3 has no modifier 'width=2'; it knows encoder="),
        ("vainf_deeplabv3_mobilenet,full-size", "has no modifier 'full-size'; it knows none"),
    ],
)
def test_an_architecture_that_is_none_says_why(smp: Any, architecture: str, sentence: str) -> None:
    assert smp
    with pytest.raises(UsageError, match=sentence):
        build_model(architecture, 21)


def test_a_stride_the_network_lacks_is_named() -> None:
    with pytest.raises(UsageError, match="cannot run at output stride 16: give --output-stride 8"):
        build_model("torchvision_deeplabv3_resnet50", 21, 16)


def test_imagenet_trunks_belong_to_the_family() -> None:
    with pytest.raises(UsageError, match="brings no ImageNet trunk: import a checkpoint of it"):
        build_model("torchvision_deeplabv3_resnet50", 21, pretrained=True)


def test_without_the_library_its_networks_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(DeviceMissing, match="pip install segmentation-models-pytorch"):
        build_model("smp_deeplabv3,encoder=resnet18", 21)
