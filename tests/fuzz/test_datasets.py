"""Folders of frames and labels, and the words that name them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from runtime.sources.folder import read_image
from scenes.dataset import open_dataset
from scenes.pictures import read_frame, read_indices
from tests.fuzz.conftest import Fuzz
from tests.fuzz.damage import DEEP, as_text, damaged, odd_text, twisted

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP", ".tif": "TIFF", ".webp": "WEBP"}


def picture(form: str, mode: str = "RGB") -> bytes:
    """A small picture with an EXIF tag that turns it."""
    shape = (16, 24, 3) if mode == "RGB" else (16, 24)
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    tags = Image.Exif()
    tags[0x0112] = 6  # orientation
    stream = io.BytesIO()
    Image.fromarray(pixels, mode).save(stream, form, exif=tags)
    return stream.getvalue()


def huge() -> bytes:
    """A PNG of 60000x60000 pixels in a few bytes."""
    data = picture("PNG", "L")
    return data[:16] + (60000).to_bytes(4, "big") * 2 + data[24:]


@pytest.mark.filterwarnings("ignore")  # Pillow's, of what is odd and not wrong
@pytest.mark.parametrize("suffix", FORMATS)
def test_bytes_of_pictures(fuzz: Fuzz, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"

    def each(reader: Callable[[Path], object]) -> Callable[[bytes], object]:
        return lambda data: (path.write_bytes(data), reader(path))

    for reader in (read_frame, read_indices, read_image):
        fuzz(each(reader), damaged(picture(FORMATS[suffix])), known=[huge()])


def test_words_that_name_a_data_set(fuzz: Fuzz, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    kinds = ("camvid:", "voc:", "cityscapes:", "folder:", "images:", "street:", "")
    places = (str(tmp_path), "?", "?seed=", "?frames=", "?size=", "?only=", "?size=64x")
    words = st.tuples(st.sampled_from(kinds), st.sampled_from(places) | odd_text(), odd_text())
    known = [
        ("street:?size=1000000x1000000", "train"),
        ("street:?frames=" + "9" * 5000, "train"),
        ("street:?seed=" + "9" * 5000, "train"),
        ("images:" + "x" * 5000, "train"),
        ("folder:a\0b", "train"),
        (f"images:{tmp_path}", "x" * 5000),
        (f"voc:{tmp_path}", "\ud800"),
    ]

    def read(told: tuple[str, str]) -> None:
        dataset = open_dataset(*told)
        assert dataset[0].frame.nbytes < 2**28

    fuzz(
        read,
        st.tuples(words.map("".join), st.just("train") | odd_text()),
        known=known,
    )


def test_legends_of_a_folder(fuzz: Fuzz, tmp_path: Path) -> None:
    legend = {"classes": ["road", "car"], "palette": [[1, 2, 3], [4, 5, 6]], "ignore": 255}
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
        mode = "L" if part == "labels" else "RGB"
        (tmp_path / part / "0.png").write_bytes(picture("PNG", mode))

    def read(text: str) -> None:
        (tmp_path / "classes.json").write_text(text)
        list(open_dataset(f"folder:{tmp_path}", "train"))

    fuzz(read, twisted(legend).map(as_text), known=[DEEP, "", "9" * 5000])


def test_lists_of_voc(fuzz: Fuzz, tmp_path: Path) -> None:
    lists = tmp_path / "ImageSets" / "Segmentation"
    for folder in (lists, tmp_path / "JPEGImages", tmp_path / "SegmentationClass"):
        folder.mkdir(parents=True)
    (tmp_path / "JPEGImages" / "a.jpg").write_bytes(picture("JPEG"))
    (tmp_path / "SegmentationClass" / "a.png").write_bytes(picture("PNG", "L"))

    def read(data: bytes) -> None:
        (lists / "train.txt").write_bytes(data)
        list(open_dataset(f"voc:{tmp_path}", "train"))

    known = [b"a\0b", b"..", b"x" * 5000, b"\xff\xfe", b"a\r\na"]
    fuzz(read, damaged(b"a\na\n") | st.binary(max_size=40), known=known)


def test_labels_of_each_layout(fuzz: Fuzz, tmp_path: Path) -> None:
    """A frame, and whatever stands in the place of its labels."""
    city = tmp_path / "leftImg8bit" / "val" / "bonn"
    fine = tmp_path / "gtFine" / "val" / "bonn"
    camvid = [tmp_path / "val", tmp_path / "valannot"]
    for folder in (city, fine, *camvid):
        folder.mkdir(parents=True)
    (city / "a_leftImg8bit.png").write_bytes(picture("PNG"))
    (camvid[0] / "a_0.png").write_bytes(picture("PNG"))

    def read(data: bytes) -> None:
        (fine / "a_gtFine_labelIds.png").write_bytes(data)
        (camvid[1] / "a_0.png").write_bytes(data)
        list(open_dataset(f"cityscapes:{tmp_path}", "val"))
        list(open_dataset(f"camvid:{tmp_path}", "val"))

    fuzz(read, damaged(picture("PNG", "L")), known=[json.dumps({}).encode(), picture("PNG")])
