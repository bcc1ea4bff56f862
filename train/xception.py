"""A slim aligned Xception: the blocks of the paper's figure 4, narrow, with a short middle flow."""

from __future__ import annotations

from typing import Any

MIDDLE_BLOCKS = 4


def slim_blocks() -> list[dict[str, Any]]:
    """Blocks for timm's `XceptionAligned`, which writes into them: fresh ones for each network.

    Strides and the order of entry, middle and exit flow are those of Xception-41; only widths and
    the number of middle blocks differ.
    """
    return [
        {"in_chs": 64, "out_chs": 64, "stride": 2},
        {"in_chs": 64, "out_chs": 128, "stride": 2},
        {"in_chs": 128, "out_chs": 256, "stride": 2},
        *({"in_chs": 256, "out_chs": 256, "stride": 1} for _ in range(MIDDLE_BLOCKS)),
        {"in_chs": 256, "out_chs": (256, 320, 320), "stride": 2},
        {
            "in_chs": 320,
            "out_chs": (384, 384, 512),
            "stride": 1,
            "no_skip": True,
            "start_with_relu": False,
        },
    ]
