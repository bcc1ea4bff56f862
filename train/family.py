"""The DeepLab family by name: `deeplabv3plus_xception65,no-decoder,dense` -> a network.

A name is head and trunk; modifiers follow after commas. Without one a member is as its paper has
it. `python train/models.py` lists all members.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engines.failures import UsageError, hint
from train.foreign.architecture import ForeignArchitecture, build_foreign, is_foreign

if TYPE_CHECKING:
    from train.backbones import Trunk
    from train.network import Network

# Modifiers that exclude each other; the first of each group is the default and never written.
PYRAMID = ("aspp-l", "aspp-s", "largefov")
DENSE = ("dense", "separable")
SEPARABLE = ("separable", "dense")
ATROUS = ("atrous", "no-atrous")
DECODER = ("decoder", "no-decoder")
RESNET = (("plain", "beta"), ("multi-grid", "no-multi-grid"))
HEADS = {
    "deeplabv1": (),
    "deeplabv2": (PYRAMID,),
    "deeplabv3": (DENSE, ATROUS),
    "deeplabv3plus": (DECODER, SEPARABLE, ATROUS),
}
TRUNKS: dict[str, tuple[tuple[str, ...], ...]] = {
    "vgg16": (),
    # the widths for which timm has a network
    "mobilenetv2": (("width=1", "width=0.35", "width=0.5", "width=0.75", "width=1.4"),),
    "mobilenetv3": (("width=1", "width=0.75"),),
    "resnet50": RESNET,
    "resnet101": RESNET,
    "xception41": (),
    "xception65": (),
    "xception71": (),
    "xception_slim": (),
}
MEMBERS = {
    "deeplabv1": ("vgg16",),
    "deeplabv2": ("vgg16", "resnet101", "mobilenetv2"),
    "deeplabv3": ("resnet50", "resnet101", "mobilenetv2"),
    "deeplabv3plus": tuple(trunk for trunk in TRUNKS if trunk != "vgg16"),
}


@dataclass(frozen=True)
class Member:
    """What a member of the family offers.

    `strides` are its output strides, the default first; `choices` its groups of modifiers.
    """

    head: str
    trunk: str
    strides: tuple[int, ...]
    choices: tuple[tuple[str, ...], ...]


def choices_of(head: str, trunk: str) -> tuple[tuple[str, ...], ...]:
    """v2 has its ResNet in one form only: multi-grid and the other stem came later."""
    own = () if head == "deeplabv2" and TRUNKS[trunk] is RESNET else TRUNKS[trunk]
    return (*HEADS[head], *own)


def strides_of(head: str, trunk: str) -> tuple[int, ...]:
    """v1 and v2 were made for 8 alone; 16 halves v2's rates, 32 would give fractions of them."""
    if head == "deeplabv1" or trunk == "vgg16":
        return (8,)
    return (8, 16) if head == "deeplabv2" else (16, 8, 32)


ARCHITECTURES = {
    f"{head}_{trunk}": Member(head, trunk, strides_of(head, trunk), choices_of(head, trunk))
    for head, trunks in MEMBERS.items()
    for trunk in trunks
}


@dataclass(frozen=True)
class Architecture:
    """A parsed architecture string: `name` of a member, and the `modifiers` that are no defaults,
    in the order of the member's choices. `str()` gives the one way to write it."""

    name: str
    modifiers: tuple[str, ...] = ()

    @staticmethod
    def parse(text: str) -> Architecture:
        """An unknown name or modifier, or two that contradict, raise `UsageError`."""
        name, *given = (part.strip() for part in text.split(","))
        if name not in ARCHITECTURES:
            raise UsageError(f"unknown architecture {name!r}: {hint(name, ARCHITECTURES)}")
        modifiers = []
        given = [normal(item) for item in given]
        for choice in ARCHITECTURES[name].choices:
            chosen = dict.fromkeys(item for item in given if item in choice)
            if len(chosen) > 1:
                raise UsageError(f"{text!r}: {' and '.join(chosen)} exclude each other")
            modifiers += [item for item in chosen if item != choice[0]]
        known = [item for choice in ARCHITECTURES[name].choices for item in choice]
        for item in given:
            if item not in known:
                raise UsageError(f"{name} has no modifier {item!r}: {hint(item, known)}")
        return Architecture(name, tuple(modifiers))

    def __str__(self) -> str:
        return ",".join((self.name, *self.modifiers))

    @property
    def member(self) -> Member:
        """What this member offers."""
        return ARCHITECTURES[self.name]

    @property
    def width(self) -> float:
        """Factor on the trunk's channels."""
        widths = (item for item in self.modifiers if item.startswith("width="))
        return float(next(widths, "width=1").removeprefix("width="))

    def has(self, modifier: str) -> bool:
        """Whether a modifier holds, be it given or the default."""
        for choice in self.member.choices:
            if modifier in choice:
                return modifier == next((m for m in self.modifiers if m in choice), choice[0])
        return False

    def output_stride(self, wanted: int | None = None) -> int:
        """The default output stride, or `wanted` if the member can run at it; else `UsageError`."""
        strides = self.member.strides
        if wanted is None:
            return strides[0]
        if wanted not in strides:
            known = " or ".join(map(str, sorted(strides)))
            raise UsageError(
                f"{self.name} cannot run at output stride {wanted}: give --output-stride {known}"
            )
        return wanted

    def logits_stride(self, output_stride: int | None = None) -> int:
        """How much coarser than the image the logits are: 4 behind the decoder, else the output
        stride."""
        stride = self.output_stride(output_stride)
        return 4 if self.has("decoder") else stride


def parse(text: str) -> Architecture | ForeignArchitecture:
    """An architecture of the family or of another repository; `UsageError` where there is none."""
    return ForeignArchitecture.parse(text) if is_foreign(text) else Architecture.parse(text)


def build_model(
    architecture: str, classes: int, output_stride: int | None = None, pretrained: bool = False
) -> Network:
    """Build a network by its architecture string; `pretrained` downloads ImageNet weights for the
    trunk. The output stride is the member's default unless given.

    An unknown name, modifier or stride raises `UsageError`.
    """
    if pretrained:
        from train.pretrained import fetching

        with fetching(architecture):
            return assemble(architecture, classes, output_stride, pretrained)
    return assemble(architecture, classes, output_stride)


def assemble(
    architecture: str, classes: int, output_stride: int | None, pretrained: bool = False
) -> Network:
    """`build_model` without a word about what keeps ImageNet weights away."""
    if is_foreign(architecture):
        return build_foreign(architecture, classes, output_stride)
    from train.backbones import MULTI_GRID, build_trunk

    parsed = Architecture.parse(architecture)
    stride = parsed.output_stride(output_stride)
    trunk = build_trunk(
        parsed.member.trunk,
        stride,
        parsed.width,
        pretrained,
        beta=parsed.has("beta"),
        multi_grid=MULTI_GRID if parsed.has("multi-grid") else (),
    )
    return with_head(parsed, trunk, classes, stride)


def with_head(architecture: Architecture, trunk: Trunk, classes: int, stride: int) -> Network:
    """Put the head on a trunk."""
    from train.deeplabv1 import DeepLabV1
    from train.deeplabv2 import DeepLabV2
    from train.deeplabv3 import DeepLabV3
    from train.deeplabv3plus import DeepLabV3Plus

    has = architecture.has
    if architecture.member.head == "deeplabv1":
        return DeepLabV1(trunk, classes)
    if architecture.member.head == "deeplabv2":
        return DeepLabV2(trunk, classes, stride, next(filter(has, PYRAMID)))
    network = DeepLabV3Plus if has("decoder") else DeepLabV3
    return network(trunk, classes, stride, has("separable"), has("atrous"))


def normal(modifier: str) -> str:
    """`width=0.50` -> `width=0.5`; others as they are."""
    key, _, value = modifier.partition("=")
    try:
        return f"{key}={float(value):g}" if key == "width" else modifier
    except ValueError:
        return modifier
