"""The drawn street: the same in every order and process, complete in its classes, in motion."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from scenes.camvid import CLASSES, PALETTE
from scenes.dataset import DatasetError, Scene, open_dataset
from scenes.street import Street, StreetCamera

SMALL = (120, 160)
DIGEST = """
import hashlib
from scenes.street import StreetCamera
scene = StreetCamera((120, 160), seed=5).scene(431)
print(hashlib.sha256(scene.frame.tobytes() + scene.labels.tobytes()).hexdigest())
"""


def digest(scene: Scene) -> str:
    return hashlib.sha256(scene.frame.tobytes() + scene.labels.tobytes()).hexdigest()


@pytest.fixture(scope="module")
def camera() -> StreetCamera:
    return StreetCamera(SMALL, seed=5)


def test_a_scene_is_a_frame_with_labels(camera: StreetCamera) -> None:
    scene = camera.scene(0)
    assert scene.frame.shape == (*SMALL, 3)
    assert scene.labels.shape == SMALL
    assert scene.frame.dtype == scene.labels.dtype == np.uint8
    assert scene.frame.flags.writeable
    assert scene.labels.flags.writeable


def test_any_index_is_reached_directly_and_in_any_order(camera: StreetCamera) -> None:
    there_and_back = [digest(camera.scene(index)) for index in (431, 12, 2000, 12, 431)]
    assert there_and_back[0] == there_and_back[4] == digest(StreetCamera(SMALL, seed=5).scene(431))
    assert there_and_back[1] == there_and_back[3]
    assert len(set(there_and_back)) == 3


def test_another_process_draws_the_same_bytes(camera: StreetCamera) -> None:
    other = subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, check=True)
    assert other.stdout.decode().strip() == digest(camera.scene(431))


def test_scenes_do_not_share_their_memory(camera: StreetCamera) -> None:
    scene = camera.scene(3)
    before = digest(scene)
    camera.scene(90)
    assert digest(scene) == before


def test_every_class_appears_and_nothing_else() -> None:
    seen: set[int] = set()
    for scene in Street("train", frames=36, size=SMALL):
        seen |= set(np.unique(scene.labels).tolist())
    assert seen == set(range(len(CLASSES)))


def test_the_street_moves_smoothly(camera: StreetCamera) -> None:
    scenes = [camera.scene(index) for index in range(300, 312)]
    for before, after in pairwise(scenes):
        changed = np.mean(before.labels != after.labels)
        assert 0 < changed < 0.15
    assert np.mean(scenes[0].labels != scenes[-1].labels) > 0.02


def test_what_is_ahead_comes_nearer(camera: StreetCamera) -> None:
    """The frame's centre half, enlarged, predicts a later frame better than itself does."""
    now, later = camera.scene(300).labels, camera.scene(312).labels
    height, width = now.shape
    zoom = 1.06
    rows = ((np.arange(height) - height * 0.52) / zoom + height * 0.52).astype(int)
    columns = ((np.arange(width) - width / 2) / zoom + width / 2).astype(int)
    enlarged = now[np.ix_(rows, columns)]
    assert np.mean(enlarged == later) > np.mean(now == later)


def test_sky_is_above_road(camera: StreetCamera) -> None:
    labels = camera.scene(50).labels
    rows = np.arange(SMALL[0])[:, None] * np.ones(SMALL)
    sky, road = CLASSES.index("Sky"), CLASSES.index("Road")
    assert rows[labels == sky].mean() < SMALL[0] * 0.4 < SMALL[0] * 0.6
    assert rows[labels == road].mean() > SMALL[0] * 0.6
    assert labels[-1, SMALL[1] // 2] == road


def test_labels_are_what_was_drawn(camera: StreetCamera) -> None:
    """Colours jump where labels do: edges between sky and the rest are edges of the frame."""
    scene = camera.scene(50)
    grey = scene.frame.mean(axis=2)
    step = np.abs(np.diff(grey, axis=0))
    sky = scene.labels == CLASSES.index("Sky")
    border = sky[1:] != sky[:-1]
    assert step[border].mean() > 3 * step[sky[1:] & sky[:-1]].mean()


@pytest.mark.parametrize("size", [(32, 32), (97, 211), (360, 480), (480, 300)])
def test_any_size(size: tuple[int, int]) -> None:
    scene = StreetCamera(size, seed=1).scene(200)
    assert scene.labels.shape == size
    assert len(np.unique(scene.labels)) > 3


def test_a_tiny_street_is_refused() -> None:
    with pytest.raises(DatasetError, match="a street of 16x64 is too small"):
        StreetCamera((64, 16))


def test_no_frame_lies_before_the_first(camera: StreetCamera) -> None:
    with pytest.raises(IndexError, match="no frame -1"):
        camera.scene(-1)


def test_seeds_and_splits_are_different_streets() -> None:
    streets = [Street(split, seed, 2, SMALL) for split, seed in (("a", 0), ("a", 1), ("b", 0))]
    assert len({digest(street[0]) for street in streets}) == 3


def test_data_set_frames_are_far_apart() -> None:
    scenes = list(Street("train", frames=6, size=SMALL))
    differences = [np.mean(a.labels != b.labels) for a, b in pairwise(scenes)]
    assert min(differences) > 0.15
    assert len({scene.name for scene in scenes}) == 6


def test_a_data_set_is_a_sequence() -> None:
    street = Street("val", frames=3, size=SMALL)
    assert digest(street[-1]) == digest(street[2])
    with pytest.raises(IndexError):
        street[3]
    assert street.classes == CLASSES
    assert street.palette == PALETTE


@pytest.mark.parametrize(
    ("spec", "split", "frames", "shape"),
    [
        ("street:", "train", 400, (360, 480)),
        ("street:", "val", 100, (360, 480)),
        ("street:?seed=7&frames=20&size=160x120", "val", 20, (120, 160)),
        ("street:?size=64x48", "test", 100, (48, 64)),
    ],
)
def test_options(spec: str, split: str, frames: int, shape: tuple[int, int]) -> None:
    street = open_dataset(spec, split)
    assert len(street) == frames
    assert street[0].labels.shape == shape


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("?sed=7", "has no option 'sed=7': it knows seed, frames, size"),
        ("?seed", "has no option 'seed'"),
        ("?seed=-1", "seed=-1 is no whole number of 0 or more"),
        ("?frames=0", "frames=0 is no whole number of 1 or more"),
        ("?frames=ten", "frames=ten is no whole number"),
        ("?size=480", "size=480 is not WIDTHxHEIGHT"),
        ("?size=480x8", "size=480x8 is not WIDTHxHEIGHT of 32 pixels or more"),
    ],
)
def test_wrong_options_are_explained(text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        Street.from_options(text, "val")
