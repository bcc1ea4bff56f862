"""Weights beside an ONNX file: read from a plain file in its folder, and from nowhere else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto

from engines.failures import Refused
from export.external_data import digest, embed

LIMIT = 2**20
WEIGHTS = np.arange(6, dtype=np.float32).tobytes()


def model(location: str, **entries: object) -> ModelProto:
    """A model with one initializer, whose six floats are in the file `location`."""
    result = ModelProto()
    tensor = result.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[6])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return result


@pytest.mark.parametrize("entries", [{"offset": 8, "length": 24}, {"offset": 8}])
def test_weights_in_a_file_beside_it_are_embedded(
    tmp_path: Path, entries: dict[str, object]
) -> None:
    (tmp_path / "model.onnx.data").write_bytes(b"padding." + WEIGHTS)
    graph = model("model.onnx.data", **entries)
    embed(graph, tmp_path, LIMIT)
    (tensor,) = graph.graph.initializer
    assert tensor.raw_data == WEIGHTS
    assert tensor.data_location == TensorProto.DEFAULT
    assert not tensor.external_data


def test_new_weights_have_another_digest_although_the_graph_s_file_is_the_same(
    tmp_path: Path,
) -> None:
    path, weights = tmp_path / "model.onnx", tmp_path / "model.onnx.data"
    path.write_bytes(model("model.onnx.data").SerializeToString())
    weights.write_bytes(WEIGHTS)
    before = digest(path, LIMIT)
    weights.write_bytes(WEIGHTS[::-1])
    assert digest(path, LIMIT) != before
    weights.write_bytes(WEIGHTS)
    assert digest(path, LIMIT) == before
    with pytest.raises(Refused, match="larger than 8 bytes"):
        digest(path, 8)


@pytest.mark.parametrize("content", [b"no graph", ModelProto().SerializeToString()])
def test_a_file_that_keeps_all_to_itself_has_its_own_digest(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    assert digest(tmp_path / "model.onnx", LIMIT) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/hostname", "sub/secret", "", ".", "..", "a\\b"]
)
def test_weights_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "inner"
    (folder / "sub").mkdir(parents=True)
    for place in (tmp_path, folder / "sub"):
        (place / "secret").write_bytes(WEIGHTS)
    with pytest.raises(Refused, match="only a file directly in the folder"):
        embed(model(location), folder, LIMIT)


def symbolic_link(folder: Path) -> None:
    (folder / "data").symlink_to(folder / "elsewhere")


def hard_link(folder: Path) -> None:
    os.link(folder / "elsewhere", folder / "data")


def named_pipe(folder: Path) -> None:
    os.mkfifo(folder / "data")


def directory(folder: Path) -> None:
    (folder / "data").mkdir()


def nothing(folder: Path) -> None:
    assert not (folder / "data").exists()


@pytest.mark.parametrize("make", [symbolic_link, hard_link, named_pipe, directory, nothing])
def test_weights_must_be_a_plain_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    (tmp_path / "elsewhere").write_bytes(WEIGHTS)
    make(tmp_path)
    with pytest.raises(Refused, match=r"data .*(link|beside)"):
        embed(model("data"), tmp_path, LIMIT)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"offset": 10**9}, "which has 24"),
        ({"offset": -8}, "which has 24"),
        ({"length": 10**12}, "which has 24"),
        ({"length": -1}, "which has 24"),
        ({"offset": "zero"}, "malformed offset"),
    ],
)
def test_bytes_that_are_not_there_are_refused(
    tmp_path: Path, entries: dict[str, object], words: str
) -> None:
    (tmp_path / "data").write_bytes(WEIGHTS)
    with pytest.raises(Refused, match=words):
        embed(model("data", **entries), tmp_path, LIMIT)


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "data").open("wb") as file:
        file.truncate(10 * 2**30)  # a sparse file
    with pytest.raises(Refused, match=r"at most 1048576 more are accepted"):
        embed(model("data"), tmp_path, LIMIT)


def test_the_limit_counts_all_tensors_together(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(WEIGHTS)
    graph = model("data")
    graph.graph.initializer.append(graph.graph.initializer[0])
    with pytest.raises(Refused, match="at most 16 more are accepted"):
        embed(graph, tmp_path, 40)
