"""ImageNet weights of a trunk, by timm: fetched once from the hub, from then on in its cache."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from engines.failures import Refused, UsageError
from train.backbones import timm_name
from train.family import Architecture, parse
from train.normalisations import Normalisation


def trunk_of(text: str) -> str:
    """timm's name of an architecture's trunk; `UsageError` where timm has no weights of it."""
    from timm.models import is_model_pretrained

    architecture = parse(text)
    if not isinstance(architecture, Architecture):
        raise UsageError(f"{text} brings no ImageNet trunk: import a checkpoint of it instead")
    name = timm_name(architecture.member.trunk, architecture.width, architecture.has("beta"))
    if not is_model_pretrained(name):
        raise UsageError(
            f"there are no ImageNet weights of {name}: leave out --pretrained, or choose another "
            "trunk or width (python train/models.py lists them)"
        )
    return name


def normalisation(text: str) -> Normalisation:
    """Mean and standard deviation, in 0..255 units, of the images that the trunk was trained on."""
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(trunk_of(text))
    assert config is not None
    mean, std = ([255 * value for value in values] for values in (config.mean, config.std))
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


@contextmanager
def fetching(text: str) -> Iterator[None]:
    """Build a network with its trunk's weights in here; no weights or no way to them raises."""
    name = trunk_of(text)
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.ERROR)  # without a network it tells of each of 12 tries
    try:
        yield
    except OSError as error:
        raise Refused(
            f"the ImageNet weights of {name} could not be fetched ({type(error).__name__}): timm "
            "takes them from huggingface.co once and keeps them; connect this machine, copy "
            "~/.cache/huggingface from one that is, or leave out --pretrained"
        ) from error
    finally:
        hub.setLevel(level)
