"""Reads ONNX files in a process apart (`fuzz_apart`), where their parser may fall over."""

from __future__ import annotations

from pathlib import Path

from export.intake import read_untrusted


def read_graph(place: tuple[str, bytes]) -> None:
    """Take in a file from elsewhere: (folder, content)."""
    folder, data = place
    path = Path(folder, "model.onnx")
    path.write_bytes(data)
    read_untrusted(path)
