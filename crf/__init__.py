"""The fully connected CRF over a frame's pixels."""

from crf.dense_crf import DenseCrf

__all__ = ["DenseCrf"]
