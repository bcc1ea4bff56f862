"""How RGB in 0..255 is brought to a network's input: mean and standard deviation per channel."""

from __future__ import annotations

Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]

IMAGENET: Normalisation = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # torchvision's x 255
SYMMETRIC: Normalisation = (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)  # [-1, 1]
