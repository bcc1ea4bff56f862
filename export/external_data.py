"""Weights that an ONNX file keeps in files beside it: read by us, so that no path escapes.

The loaders of onnx and onnxruntime had a dozen holes here (CVE-2022-25882, CVE-2024-27318,
CVE-2026-27489 and others: `..`, absolute paths, symbolic and hard links). Only a plain file with
one name, directly in the ONNX file's own folder, is read: what torch and onnx write.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto, TensorProto

from engines.failures import Refused


def embed(model: ModelProto, folder: Path, limit: int) -> None:
    """Move the external data of all initializers into the model, in place.

    More than `limit` bytes in all, or anything but a plain file in `folder`, raises `Refused`.
    """
    for node in model.graph.node:
        tensors = [tensor for item in node.attribute for tensor in (item.t, *item.tensors)]
        if any(tensor.data_location == TensorProto.EXTERNAL for tensor in tensors):
            raise Refused(f"node {node.name!r} keeps an attribute in another file: embed it")
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            tensor.raw_data = _read(tensor, folder, limit)
            limit -= len(tensor.raw_data)
            del tensor.external_data[:]
            tensor.data_location = TensorProto.DEFAULT


def digest(path: Path, limit: int) -> str:
    """Sha256 of an ONNX file, and of the files in its folder that it keeps weights in: a new export
    of other weights may change those alone.

    Anything but plain files of up to `limit` bytes raises `Refused`; what is no ONNX file has its
    own digest.
    """
    data = path.read_bytes()
    total = hashlib.sha256(data)
    for location, tensor in sorted(_locations(data).items()):
        with _open_plain(path.parent / _plain_name(location, tensor), tensor) as file:
            if os.fstat(file.fileno()).st_size > limit:
                raise Refused(f"{location} beside {path} is larger than {limit} bytes")
            total.update(hashlib.sha256(file.read()).digest())
    return total.hexdigest()


def _locations(data: bytes) -> dict[str, str]:
    """The files that a serialised model keeps weights in, each with a tensor that is there."""
    try:
        outside = [
            (entry.value, tensor.name)
            for tensor in ModelProto.FromString(data).graph.initializer
            if tensor.data_location == TensorProto.EXTERNAL
            for entry in tensor.external_data
            if entry.key == "location"
        ]
    except (DecodeError, UnicodeDecodeError):
        return {}  # reading the graph tells what is wrong
    return dict(outside)


def _read(tensor: TensorProto, folder: Path, limit: int) -> bytes:
    """The bytes that one initializer refers to."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = folder / _plain_name(entries.get("location", ""), tensor.name)
    with _open_plain(path, tensor.name) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            offset = int(entries.get("offset", 0))
            length = int(entries.get("length", size - offset))
        except ValueError:
            raise Refused(f"tensor {tensor.name!r} has a malformed offset or length") from None
        if not (0 <= offset <= offset + length <= size and length <= limit):
            raise Refused(
                f"tensor {tensor.name!r} asks for bytes {offset} to {offset + length} of {path}, "
                f"which has {size}; at most {limit} more are accepted"
            )
        file.seek(offset)
        return file.read(length)


def _open_plain(path: Path, tensor: str) -> BinaryIO:
    """Open a plain file that no link leads to."""
    try:
        # O_NONBLOCK: a named pipe in the place of the file must not hang the command.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise Refused(
            f"{path} with the weights of {tensor!r} cannot be read ({reason}): keep the "
            "file itself, not a link to it, beside the ONNX file"
        ) from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(descriptor)
        raise Refused(f"{path} is not a plain file with one name: copy it, do not link it")
    return os.fdopen(descriptor, "rb")


def _plain_name(location: str, tensor: str) -> str:
    if PurePosixPath(location).name != location or location in ("", "..") or "\\" in location:
        raise Refused(
            f"tensor {tensor!r} keeps its weights at {location!r}: only a file directly in the "
            "folder of the ONNX file is accepted; move it there and export again"
        )
    return location
