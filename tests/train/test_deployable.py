"""Raw frames in: cast, transpose and normalisation are inside the module."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from engines.spec import ModelSpec
from train.deployable import Deployable


def test_the_network_sees_normalised_channels_first(spec: ModelSpec) -> None:
    frames = torch.randint(0, 256, (2, 5, 7, 3), dtype=torch.uint8)
    mean, std = (123.7, 116.3, 103.5), (58.4, 57.1, 50.3)  # no two alike: none can take another's
    seen = Deployable(nn.Identity(), replace(spec, mean=mean, std=std))(frames)
    planes = [(frames[..., c].double() - mean[c]) / std[c] for c in range(3)]
    expected = torch.stack(planes, dim=1)
    torch.testing.assert_close(seen, expected.float())


def test_constants_are_no_weights(spec: ModelSpec) -> None:
    assert not Deployable(nn.Identity(), spec).state_dict()
