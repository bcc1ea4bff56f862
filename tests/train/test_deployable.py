"""Raw frames in: cast, transpose and normalisation are inside the module."""

from __future__ import annotations

import torch
from torch import nn

from engines.spec import ModelSpec
from train.deployable import Deployable


def test_the_network_sees_normalised_channels_first(spec: ModelSpec) -> None:
    frames = torch.randint(0, 256, (2, 5, 7, 3), dtype=torch.uint8)
    seen = Deployable(nn.Identity(), spec)(frames)
    expected = torch.stack([(frames[..., c].double() - 127.5) / 127.5 for c in range(3)], dim=1)
    torch.testing.assert_close(seen, expected.float())


def test_constants_are_no_weights(spec: ModelSpec) -> None:
    assert not Deployable(nn.Identity(), spec).state_dict()
