"""From frames to the range of each activation."""
