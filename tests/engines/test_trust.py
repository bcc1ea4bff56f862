"""What a bundle may be read from: nobody else's to write, no links, no surprises, and fast."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import struct
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engines import trust
from engines.bundle import Bundle, Golden, writing_bundle
from engines.failures import Refused
from engines.manifest import BundleFile, Manifest
from engines.spec import ModelSpec, canonical_json
from engines.trust import read_trusted

SPEC = ModelSpec(
    "tiny", "none", ("Road", "Sky"), ((1, 2, 3), (4, 5, 6)), (32, 48), (0.0,) * 3, (1.0,) * 3
)  # fmt: skip
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no permission bits")


def write(root: Path, name: str = "fp32.onnx") -> Path:
    frame = np.zeros((32, 48, 3), np.uint8)
    with writing_bundle(root) as writer:
        writer.add_bytes(name, b"graph", "onnx", precision="fp32")
        writer.add_golden([Golden(frame, frame[..., 0])])
        writer.finish(Manifest(SPEC, "fp32", ()))
    return root


def relist(root: Path, **changes: Any) -> None:
    """Change the first entry of the manifest and sign it anew, as an attacker would."""
    manifest = Manifest.load(root)
    data = manifest.to_json()
    data["files"][0].update(changes)
    del data["digest"]
    data["digest"] = hashlib.sha256(canonical_json(data).encode()).hexdigest()
    (root / "manifest.json").write_text(json.dumps(data))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "bundle")


@posix
@pytest.mark.parametrize(
    "name", [".", "golden", "fp32.onnx", "manifest.json", "golden/0.frame.png"]
)
def test_what_every_user_can_write_is_refused_with_the_command(root: Path, name: str) -> None:
    (root / name).chmod(0o777)
    with pytest.raises(Refused, match="every user") as refused:
        Bundle.open(root)
    command = str(refused.value).split(": ")[1].split(" if ")[0]
    subprocess.run(shlex.split(command), check=True)
    Bundle.open(root)


@posix
def test_the_group_may_write(root: Path) -> None:
    """The default umask of Ubuntu and JetPack is 002, each user in a group of his own."""
    for path in (root, *root.rglob("*")):
        path.chmod(path.stat().st_mode | 0o020)
    Bundle.open(root)


@posix
def test_a_build_under_any_umask_makes_a_bundle_that_opens(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        root = write(tmp_path / "bundle")
    finally:
        os.umask(before)
    Bundle.open(root)


def test_windows_has_no_permission_bits_to_look_at(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "CHECKS_MODES", False)
    (root / "fp32.onnx").chmod(0o666)
    Bundle.open(root)


@pytest.mark.parametrize("inside", [True, False])
def test_links_in_a_bundle_are_refused(root: Path, tmp_path: Path, inside: bool) -> None:
    target = (root if inside else tmp_path) / "elsewhere.onnx"
    target.write_bytes(b"graph")
    (root / "fp32.onnx").unlink()
    (root / "fp32.onnx").symlink_to(target)
    with pytest.raises(Refused, match=r"fp32.onnx is a symbolic link"):
        Bundle.open(root)


def test_a_folder_in_a_bundle_may_be_no_link(root: Path, tmp_path: Path) -> None:
    (root / "golden").rename(tmp_path / "elsewhere")
    (root / "golden").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="golden is a symbolic link"):
        Bundle.open(root)


def test_the_manifest_may_be_no_link(root: Path, tmp_path: Path) -> None:
    (root / "manifest.json").rename(tmp_path / "manifest.json")
    (root / "manifest.json").symlink_to(tmp_path / "manifest.json")
    with pytest.raises(Refused, match=r"manifest.json is a symbolic link"):
        Bundle.open(root)


def test_the_bundle_itself_may_be_reached_through_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(root)
    Bundle.open(tmp_path / "current")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "golden/../../secret", "", "."])
def test_names_that_lead_out_are_refused(root: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"graph")
    relist(root, name=name)
    with pytest.raises(Refused, match="outside"):
        Bundle.open(root)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": 5},
        {"name": ["fp32.onnx"]},
        {"name": "a\0b"},
        {"name": "x" * 5000},
        {"sha256": None},
        {"bytes": "5"},
        {"bytes": -1},
        {"bytes": 10**12},
        {"kind": {}},
        {"precision": 7},
        {"extra": 1},
    ],
)
def test_a_malformed_entry_is_refused(root: Path, changes: dict[str, Any]) -> None:
    relist(root, **changes)
    with pytest.raises(Refused):
        Bundle.open(root)


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"digest":' * 50_000, '{"digest": NaN}', '{"digest": "\\ud800"}']
)
def test_a_manifest_that_is_a_bomb_is_refused(root: Path, text: str) -> None:
    (root / "manifest.json").write_text(text)
    with pytest.raises(Refused, match="manifest"):
        Bundle.open(root)


def test_a_giant_file_is_refused_before_it_is_read(root: Path) -> None:
    """Sparse, so that a terabyte costs nothing here; and the manifest agrees with its size."""
    with (root / "fp32.onnx").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(Refused, match=r"1000000000000 bytes, the manifest says 5"):
        Bundle.open(root)
    relist(root, bytes=10**12)
    with pytest.raises(Refused, match="more than"):
        Bundle.open(root)


def test_a_giant_manifest_is_refused_before_it_is_read(root: Path) -> None:
    with (root / "manifest.json").open("ab") as file:
        file.truncate(10**12)
    with pytest.raises(Refused, match="more than"):
        Bundle.open(root)


@posix
@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_what_is_no_file_is_refused_without_waiting(root: Path, kind: str) -> None:
    """Reading a FIFO that nobody writes to would wait for ever."""
    (root / "fp32.onnx").unlink()
    if kind == "fifo":
        os.mkfifo(root / "fp32.onnx")
    else:
        (root / "fp32.onnx").mkdir()
    with pytest.raises(Refused, match=r"no regular file|Is a directory"):
        Bundle.open(root)


@pytest.mark.parametrize(
    "name",
    ['it\'s "quoted"', "$(touch x)", "a;rm -rf b", "new\nline", "ünïcödé", "n" * 200, "--help"],
)
def test_any_name_works_and_none_is_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    root = write(tmp_path / name, f"{name}.onnx")
    bundle = Bundle.open(root)
    assert bundle.read(bundle.graph("fp32")) == b"graph"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("content", ["text", "other size", "cut off", "bomb"])
def test_a_golden_picture_that_is_none_is_refused(root: Path, content: str) -> None:
    path, made = root / "golden/0.frame.png", root.parent / "made.png"
    if content == "bomb":
        header = b"IHDR" + struct.pack(">IIBBBBB", 10**6, 10**6, 8, 2, 0, 0, 0)
        check = struct.pack(">I", zlib.crc32(header))
        made.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + check)  # 3 TB of pixels
    elif content == "other size":
        Image.new("RGB", (48, 33)).save(made)
    else:
        made.write_bytes(path.read_bytes()[:60] if content == "cut off" else b"no picture")
    data = made.read_bytes()
    path.write_bytes(data)
    bundle = Bundle.open(write(root.parent / "good"))
    (index,) = [i for i, f in enumerate(bundle.manifest.files) if f.kind == "golden-frame"]
    files = list(bundle.manifest.files)
    files[index] = replace(
        files[index], sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)
    )  # fmt: skip
    forged = Bundle(root, replace(bundle.manifest, files=tuple(files)))
    with pytest.raises(Refused, match=r"0.frame.png"):
        forged.golden()


def test_a_golden_frame_without_its_labels_is_refused(root: Path) -> None:
    bundle = Bundle.open(root)
    files = tuple(file for file in bundle.manifest.files if file.kind != "golden-labels")
    with pytest.raises(Refused, match="1 golden frames and 0 of their labels"):
        Bundle(root, replace(bundle.manifest, files=files)).golden()


def test_a_file_that_is_exchanged_after_the_bundle_was_opened_is_refused(root: Path) -> None:
    """A plan is read when its session opens, minutes after the bundle; its hash is checked then."""
    bundle = Bundle.open(root)
    (root / "fp32.onnx").write_bytes(b"grapH")
    with pytest.raises(Refused, match="sha256"):
        bundle.read(bundle.graph("fp32"))


def test_the_size_is_the_callers_or_the_limit(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"12345")
    assert read_trusted(tmp_path, "cache") == b"12345"
    with pytest.raises(Refused, match="more than the 4"):
        read_trusted(tmp_path, "cache", limit=4)


def test_an_entry_keeps_its_types() -> None:
    with pytest.raises(ValueError, match="malformed"):
        BundleFile("x", "onnx", "0" * 64, "5")  # type: ignore[arg-type]
