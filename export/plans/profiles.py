"""Optimisation profiles: which shapes a plan takes, where its graph leaves dimensions open."""

from __future__ import annotations

from typing import Any

from engines.failures import Refused
from export.plans.settings import BuildSettings

OPEN = -1  # how TensorRT writes a dimension that is decided at run time
Shape = tuple[int, ...]


def add_profile(builder: Any, network: Any, config: Any, settings: BuildSettings) -> None:
    """Tell the builder the shapes of every input with open dimensions; none, no profile."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    dynamic = [tensor for tensor in inputs if OPEN in tuple(tensor.shape)]
    if not dynamic:
        return
    profile = builder.create_optimization_profile()
    for tensor in dynamic:
        profile.set_shape(tensor.name, *shapes(tuple(tensor.shape), settings))
    if config.add_optimization_profile(profile) < 0:
        told = {tensor.name: shapes(tuple(tensor.shape), settings) for tensor in dynamic}
        raise Refused(f"the builder does not take the shapes {told}")


def shapes(shape: Shape, settings: BuildSettings) -> tuple[Shape, Shape, Shape]:
    """Least, best and largest shape of an input [N, H, W, 3] whose open dimensions are -1.

    An open height or width without a size for it raises `Refused`.
    """
    if settings.size is None and OPEN in shape[1:3]:
        raise Refused(
            f"the graph takes frames of any size {list(shape)}: say which with "
            "--input-size HxW, or MIN:OPT:MAX"
        )
    least, best, most = (_filled(shape, settings, index) for index in range(3))
    return least, best, most


def _filled(shape: Shape, settings: BuildSettings, index: int) -> Shape:
    size = settings.size[index] if settings.size else shape[1:3]
    wanted = (settings.batch[index], *size, *shape[3:])
    return tuple(want if have == OPEN else have for have, want in zip(shape, wanted, strict=True))
