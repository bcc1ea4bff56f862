"""Networks of other repositories by name, as they are there, so that their weights give their
outputs: `vainf_deeplabv3plus_mobilenet`, `smp_deeplabv3plus,encoder=resnet34`.

They differ from the family in what weights cannot show: paddings, rates, the order of channels in a
concatenation, the grid of a resize. `python train/import_checkpoint.py` turns a checkpoint of
theirs into one of ours that names its architecture here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engines.failures import UsageError, hint

if TYPE_CHECKING:
    from train.network import Network

# repository -> architecture -> the output strides it runs at, its authors' default first
REPOSITORIES: dict[str, dict[str, tuple[int, ...]]] = {
    "torchvision": {
        "deeplabv3_resnet50": (8,),
        "deeplabv3_resnet101": (8,),
        "deeplabv3_mobilenet_v3_large": (16,),
    },
    "smp": {"deeplabv3": (8, 16), "deeplabv3plus": (16, 8)},
    "vainf": {
        f"{head}_{trunk}": (16, 8)
        for head in ("deeplabv3", "deeplabv3plus")
        for trunk in ("resnet50", "resnet101", "mobilenet")
    },
    "jfzhang95": {
        "deeplab_resnet": (16, 8),
        "deeplab_mobilenet": (16, 8),
        "deeplab_xception": (16, 8),
        "deeplab_drn": (8,),
    },
}
# What may follow a name, after commas. `full-size` resizes the logits to the image's size inside
# the network on the original's own grid (align_corners=True); without it they leave at their own
# stride and are resized as everywhere here (align_corners=False), which is far cheaper and moves
# borders by up to half a stride at the frame's edge, by nothing at its centre.
MODIFIERS: dict[str, tuple[str, ...]] = {
    "torchvision": (),
    "smp": ("encoder=", "channels=", "rates=", "separable", "dense", "full-size"),
    "vainf": (),
    "jfzhang95": ("full-size",),
}


@dataclass(frozen=True)
class ForeignArchitecture:
    """A parsed architecture string; modifiers without a value have ""."""

    repository: str
    name: str
    modifiers: Mapping[str, str]

    @staticmethod
    def parse(text: str) -> ForeignArchitecture:
        """An unknown name or modifier raises `UsageError`."""
        full_name, *parts = (part.strip() for part in text.split(","))
        repository, _, name = full_name.partition("_")
        if name not in REPOSITORIES.get(repository, ()):
            known = [f"{key}_{item}" for key, items in REPOSITORIES.items() for item in items]
            raise UsageError(f"unknown architecture {full_name!r}: {hint(full_name, known)}")
        modifiers = {}
        for part in parts:
            key, equals, value = part.partition("=")
            if key + equals not in MODIFIERS[repository]:
                known_here = ", ".join(MODIFIERS[repository]) or "none"
                raise UsageError(f"{full_name} has no modifier {part!r}; it knows {known_here}")
            modifiers[key] = value
        return ForeignArchitecture(repository, name, modifiers)

    def output_stride(self, wanted: int | None = None) -> int:
        """The authors' default, or `wanted` if the network runs at it; else `UsageError`."""
        strides = REPOSITORIES[self.repository][self.name]
        if wanted is not None and wanted not in strides:
            known = " or ".join(map(str, sorted(strides)))
            raise UsageError(
                f"{self.repository}_{self.name} cannot run at output stride {wanted}: "
                f"give --output-stride {known}"
            )
        return wanted or strides[0]

    def logits_stride(self, output_stride: int | None = None) -> int:
        """How much coarser than the image the logits are."""
        if "full-size" in self.modifiers:
            return 1
        plus = self.repository == "jfzhang95" or self.name.startswith("deeplabv3plus")
        return 4 if plus else self.output_stride(output_stride)


def is_foreign(text: str) -> bool:
    """Whether an architecture string means a network of another repository."""
    return text.partition("_")[0] in REPOSITORIES


def build_foreign(text: str, classes: int, output_stride: int | None = None) -> Network:
    """Build a network of another repository; a name, modifier or stride that it does not have
    raises `UsageError`."""
    from train.foreign.jfzhang95 import Jfzhang95DeepLab
    from train.foreign.smp import SmpDeepLab
    from train.foreign.torchvision_deeplab import TorchvisionDeepLab
    from train.foreign.vainf import VainfDeepLab

    architecture = ForeignArchitecture.parse(text)
    builders: dict[str, Callable[..., Network]] = {
        "torchvision": TorchvisionDeepLab,
        "smp": SmpDeepLab,
        "vainf": VainfDeepLab,
        "jfzhang95": Jfzhang95DeepLab,
    }
    stride = architecture.output_stride(output_stride)
    build = builders[architecture.repository]
    return build(architecture.name, classes, stride, architecture.modifiers)
