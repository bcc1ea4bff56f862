"""Image files as frames and labels: channel order, modes, and what is no picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.sources.folder import read_image
from scenes.dataset import DatasetError
from scenes.pictures import read_frame, read_indices

COLOURS = np.array([[[255, 0, 0], [0, 128, 0], [0, 0, 64]]], np.uint8)  # [1, 3, 3]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_channels_are_red_green_blue(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(COLOURS).convert(mode).save(path)
    np.testing.assert_array_equal(read_frame(path), COLOURS)


def test_a_frame_of_16_bits_is_refused_and_not_read_as_white(tmp_path: Path) -> None:
    path = tmp_path / "thermal.png"
    Image.fromarray(np.array([[2000, 40000]], np.uint16)).save(path)
    with pytest.raises(DatasetError, match="has more than 8 bits a pixel"):
        read_frame(path)


def test_a_phone_s_picture_stands_upright_as_the_stream_has_it(tmp_path: Path) -> None:
    path = tmp_path / "phone.png"
    lying = Image.fromarray(COLOURS)
    exif = lying.getexif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    lying.save(path, exif=exif)
    np.testing.assert_array_equal(read_frame(path), np.rot90(COLOURS, -1))
    np.testing.assert_array_equal(read_frame(path), read_image(path))


def test_a_jpeg_keeps_its_colours(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    Image.fromarray(np.full((16, 16, 3), (200, 100, 50), np.uint8)).save(path, quality=95)
    assert np.abs(read_frame(path).astype(int) - (200, 100, 50)).max() <= 3


@pytest.mark.parametrize("mode", ["L", "P"])
def test_labels_are_indices_whatever_colours_they_have(tmp_path: Path, mode: str) -> None:
    labels = np.array([[0, 1, 255]], np.uint8)
    image = Image.fromarray(labels)
    if mode == "P":
        image = image.convert("P")
        image.putpalette([128, 64, 0] * 256)
    image.save(tmp_path / "labels.png")
    np.testing.assert_array_equal(read_indices(tmp_path / "labels.png"), labels)


def test_a_coloured_picture_is_no_label_image(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "labels.png")
    with pytest.raises(DatasetError, match="mode RGB"):
        read_indices(tmp_path / "labels.png")


def test_a_picture_beyond_all_reason_is_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    Image.fromarray(COLOURS).save(path)
    data = path.read_bytes()
    path.write_bytes(data[:16] + (60_000).to_bytes(4, "big") * 2 + data[24:])
    with pytest.raises(DatasetError, match="not a readable image"):
        read_frame(path)
