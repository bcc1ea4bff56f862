"""DeepLabV3 and DeepLabV3Plus of segmentation_models.pytorch, with any encoder of it.

The library itself builds the network: it must be installed where a checkpoint of it is imported,
evaluated or exported, and is not needed where the exported engine runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional

from engines.failures import DeviceMissing, UsageError
from train.network import Network

CLASSES = {"deeplabv3": "DeepLabV3", "deeplabv3plus": "DeepLabV3Plus"}


class SmpDeepLab(Network):
    """The library's `encoder.` as `backbone.`, its `decoder.`, its `segmentation_head.0.` as
    `classifier.`.

    Modifiers: `encoder=resnet34` (needed), and what differs from the library's defaults:
    `channels=128`, `rates=6-12-18`, `dense` or `separable` ASPP, `full-size`.
    """

    def __init__(
        self, name: str, classes: int, output_stride: int, modifiers: Mapping[str, str]
    ) -> None:
        super().__init__()
        network = build(name, classes, output_stride, modifiers)
        self.backbone = network.encoder
        self.decoder = network.decoder
        self.classifier = network.segmentation_head[0]
        self.full_size = "full-size" in modifiers

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W], sides a multiple of the output stride -> logits, v3+ at
        stride 4, v3 at the output stride, or at the image's size."""
        logits: Tensor = self.classifier(self.decoder(self.backbone(images)))
        if self.full_size:
            return functional.interpolate(
                logits, images.shape[2:], mode="bilinear", align_corners=True
            )
        return logits


def build(name: str, classes: int, output_stride: int, modifiers: Mapping[str, str]) -> Any:
    """The library's network; an encoder it does not have raises `UsageError`."""
    try:
        smp: Any = importlib.import_module("segmentation_models_pytorch")
    except ImportError:
        raise DeviceMissing(
            "networks of segmentation_models.pytorch need that library: "
            "pip install segmentation-models-pytorch"
        ) from None
    encoder = modifiers.get("encoder")
    if not encoder:
        raise UsageError(f"smp_{name} needs its encoder, as in smp_{name},encoder=resnet34")
    options: dict[str, Any] = {}
    if "channels" in modifiers:
        options["decoder_channels"] = whole(modifiers["channels"])
    if "rates" in modifiers:
        options["decoder_atrous_rates"] = tuple(map(whole, modifiers["rates"].split("-")))
    if "dense" in modifiers or "separable" in modifiers:
        options["decoder_aspp_separable"] = "separable" in modifiers
    try:
        return getattr(smp, CLASSES[name])(
            encoder,
            encoder_weights=None,
            encoder_output_stride=output_stride,
            classes=classes,
            **options,
        )
    except (KeyError, ValueError, RuntimeError) as error:
        raise UsageError(f"segmentation_models.pytorch cannot build this: {error}") from error


def whole(text: str) -> int:
    """A whole number of 1 or more; else `UsageError`."""
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{text!r} is no whole number: channels=128, rates=6-12-18")
    return int(text)
