"""The settings of a training run, with their defaults."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.failures import UsageError

UNRELATED = ("json", "resume", "run", "threads")  # may change between the parts of a run
# Defaults that --qat replaces. The rate is that of the official DeepLab quantize.md.
FINE_TUNING: dict[str, Any] = {"learning_rate": 3e-5, "epochs": 10, "precision": "fp32"}


@dataclass(frozen=True)
class Options:
    """Flags of `python train/fit.py`; a value that cannot work raises `UsageError`."""

    data: tuple[str, ...]
    split: str = "train"
    val_data: str | None = None  # None = the first of `data`
    val_split: str = "val"
    mix: str | None = None  # a dataset whose random frames fill `mix_share` of each epoch
    mix_share: float = 0.2
    architecture: str = "deeplabv3plus_mobilenetv2"
    name: str = "deeplab"
    init: Path | None = None
    init_backbone: Path | None = None  # a checkpoint whose trunk alone is taken
    pretrained: bool = False  # the trunk starts with timm's ImageNet weights
    freeze_backbone: bool = False
    qat: bool = False  # fine-tune `source` as the INT8 graph computes it
    source: Path | None = None  # a checkpoint, which brings its own spec
    run: Path = Path("runs/latest")
    resume: bool = False
    epochs: int = 40
    batch: int = 8
    crop: tuple[int, int] = (320, 400)
    input_size: tuple[int, int] = (360, 480)
    output_stride: int = 16
    learning_rate: float = 1e-3
    backbone_rate: float = 0.3  # times the learning rate: pretrained layers need to move less
    weight_decay: float = 0.01
    ema: float = 0.995
    lovasz: float = 0.0  # its share beside the cross-entropy's 1
    teacher: Path | None = None  # a checkpoint whose answers are learnt beside the labels
    teacher_weight: float = 1.0
    class_mix: float = 0.0  # probability that a sample receives another one's rare classes
    scale: tuple[float, float] = (0.5, 2.0)
    colour: float = 0.4  # how much brightness, contrast and saturation vary
    validate_every: int = 5
    threads: int = 0  # 0 = PyTorch's choice
    precision: str = "bf16"  # of the forward and backward passes; weights are FP32 either way
    seed: int = 0
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.validate_every < 1:
            raise UsageError("--epochs and --validate-every must be at least 1")
        if self.batch < 2:
            raise UsageError(
                "--batch must be at least 2: batch norm sees the image pooling's 1x1 map"
            )
        if min(self.crop) < 32 or min(self.input_size) < 32:
            raise UsageError("--crop and --input-size must be at least 32x32")
        starts = (self.init, self.init_backbone, self.pretrained)
        if sum(map(bool, starts)) > 1:
            raise UsageError(
                "--init, --init-backbone and --pretrained exclude each other: give one of them"
            )
        if self.freeze_backbone and not any(starts):
            raise UsageError("--freeze-backbone would keep random weights: add --init-backbone F")
        self._check_qat()
        if not 0 < self.learning_rate < math.inf:
            raise UsageError(f"--learning-rate {self.learning_rate} is not positive")
        for flag, value in (
            ("--backbone-rate", self.backbone_rate),
            ("--weight-decay", self.weight_decay),
            ("--lovasz", self.lovasz),
            ("--seed", self.seed),
            ("--threads", self.threads),
        ):
            if not 0 <= value < math.inf:
                raise UsageError(f"{flag} must not be negative, got {value}")
        if not 0 < self.mix_share < 1:
            raise UsageError(f"--mix-share {self.mix_share} is not between 0 and 1")
        if not 0 <= self.ema < 1:
            raise UsageError(f"--ema {self.ema} is not in [0, 1)")
        if not 0 <= self.class_mix <= 1:
            raise UsageError(f"--class-mix {self.class_mix} is not between 0 and 1")
        if not 0 <= self.colour <= 1:
            raise UsageError(f"--colour {self.colour} is not between 0 and 1")
        if not 0 < self.teacher_weight < math.inf:
            raise UsageError(f"--teacher-weight {self.teacher_weight} is not positive")
        if not 0.1 <= self.scale[0] <= self.scale[1] <= 10:
            raise UsageError("--scale takes two factors, the smaller first, e.g. 0.5 2")

    def _check_qat(self) -> None:
        if not self.qat:
            if self.source:
                raise UsageError("--from goes with --qat: other training starts from --init F")
            return
        if self.source is None:
            raise UsageError("--qat fine-tunes a trained network: add its checkpoint with --from F")
        if self.init or self.init_backbone or self.pretrained:
            raise UsageError("--qat starts with the weights of --from: leave other ones out")
        if self.precision != "fp32":
            raise UsageError(
                "--qat needs --precision fp32: bf16 moves values by up to a quarter of INT8's step"
            )
        for name in ("architecture", "input_size", "output_stride"):
            if getattr(self, name) != getattr(Options, name):
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} comes with the checkpoint of --from: leave it out")

    def settings(self) -> dict[str, Any]:
        """What defines the run, as plain data: a resumed part must agree with it."""
        data = dataclasses.asdict(self)
        return {key: str(data[key]) for key in sorted(data.keys() - set(UNRELATED))}
