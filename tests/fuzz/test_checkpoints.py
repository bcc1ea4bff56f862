"""Checkpoints: safetensors, and pickles of other repositories, which must never run code."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # looks for libraries when it is first needed, which is no finding
from safetensors.torch import save

from tests.fuzz.conftest import Fuzz
from tests.fuzz.damage import as_text, damaged, twisted
from train.checkpoint import read_weights
from train.foreign.checkpoint import read_foreign

WEIGHTS = {"conv.weight": torch.zeros(2, 3), "bn.count": torch.tensor(1)}


class Evil:
    """Unpickled, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


def torch_saved(content: Any, new: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=new)
    return stream.getvalue()


def safetensors_in(folder: Path) -> Callable[[bytes], object]:
    path = folder / "model.safetensors"
    return lambda data: (path.write_bytes(data), read_weights(path))


def pickles_in(folder: Path) -> Callable[[bytes], object]:
    path = folder / "model.pth"
    return lambda data: (path.write_bytes(data), read_foreign(path))


def test_bytes_of_safetensors(fuzz: Fuzz, tmp_path: Path) -> None:
    fuzz(safetensors_in(tmp_path), damaged(save(WEIGHTS)))


def test_headers_of_safetensors(fuzz: Fuzz, tmp_path: Path) -> None:
    data = save(WEIGHTS)
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])

    def rebuilt(document: Any) -> bytes:
        text = as_text(document).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    fuzz(safetensors_in(tmp_path), twisted(header).map(rebuilt))


def test_bytes_of_pickles(fuzz: Fuzz, tmp_path: Path) -> None:
    for new in (True, False):
        seed = torch_saved({"state_dict": WEIGHTS, "epoch": 3}, new)
        fuzz(pickles_in(tmp_path), damaged(seed))


def test_pickles_inside_an_archive(fuzz: Fuzz, tmp_path: Path) -> None:
    """Damage that a checksum over the pickle does not tell."""
    whole = zipfile.ZipFile(io.BytesIO(torch_saved(WEIGHTS)))
    files = {name: whole.read(name) for name in whole.namelist()}
    name = next(name for name in files if name.endswith("data.pkl"))

    def packed(data: bytes) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for entry, content in files.items():
                archive.writestr(entry, data if entry == name else content)
        return stream.getvalue()

    fuzz(pickles_in(tmp_path), damaged(files[name]).map(packed))


def test_code_in_a_pickle_does_not_run(fuzz: Fuzz, tmp_path: Path) -> None:
    marker = tmp_path / "escaped"
    evil = Evil(marker)
    seeds = [torch_saved({"a": evil}), torch_saved({"a": evil}, new=False), pickle.dumps(evil)]
    for seed in seeds:
        fuzz(
            pickles_in(tmp_path),
            damaged(seed),
            known=[seed],
            examples=10,
        )
    assert not marker.exists()
