"""The street's fast drawing against slow twins that take one pixel at a time."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from scenes.street_bodies import BODIES
from scenes.street_canvas import EYE, Canvas
from scenes.street_ground import Ground
from scenes.street_light import HAZE_COLOUR, SHADED, SUNLIT, Light, Texels, texel, tinted
from scenes.street_optics import NOISE_LIMIT, Exposure, Optics, labels_of, noise_bank, tone_table
from scenes.street_paving import (
    ACROSS,
    ALONG,
    GROUNDS,
    HALF_SPAN,
    LENGTH,
    MARKINGS,
    PAVEMENT,
    ROAD,
    TREE,
    Profile,
    Section,
    section_levels,
)
from scenes.street_plan import Plan
from scenes.street_texture import HOLE, Texture, build_texture
from scenes.street_vehicles import vehicle

PROFILE = Profile(half_road=4.0, pavement=2.5, yellow_lines=False, slabs=False)
SKY_TEXEL = texel((9, 9, 9), 0)


def channels(texels: Texels) -> np.ndarray:
    return texels[..., None].view(np.uint8).astype(int)


@pytest.fixture
def canvas() -> Canvas:
    canvas = Canvas(72, 96, focal=96)
    canvas.texels[:] = SKY_TEXEL
    canvas.aim(48, 36)
    return canvas


@pytest.fixture(scope="module")
def patches() -> Texture:
    """4 x 4 m of random patches with a hole, one label, one level of 8 texels a metre."""
    rng = np.random.default_rng(0)
    picture = np.full((32, 32, 4), 255, np.uint8)
    picture[..., :3] = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    picture[10:16, 5:9, 3] = 0
    return build_texture(Image.fromarray(picture), 3, 8.0, levels=1)


def looked_up(texture: Texture, x: float, y: float) -> int:
    """The texel at x from the left and y from the bottom, metres; a hole outside."""
    level = texture.levels[0]
    grid = level.texels.reshape(level.columns, -1)[:, 1:-1].T
    row, column = int((texture.height - y) * level.density), int(x * level.density)
    inside = 0 <= y <= texture.height and 0 <= x < texture.width and row < level.rows
    return int(grid[row, column]) if inside else int(HOLE)


@pytest.mark.parametrize("light", [SUNLIT, SHADED, Light(haze=2), Light(shaded=True, haze=1)])
def test_tints_are_arithmetic_on_each_channel(light: Light) -> None:
    texels = np.random.default_rng(1).integers(0, 1 << 32, 4096, dtype=np.uint32)
    colour = channels(texels)
    expected = colour[:, :3] >> 1 if light.shaded else colour[:, :3]
    haze = np.array(HAZE_COLOUR) >> 3
    expected = expected - (expected >> 3) * light.haze + haze * light.haze
    result = channels(tinted(texels, light))
    assert np.array_equal(result[:, :3], expected)
    assert np.array_equal(result[:, 3], colour[:, 3])


def test_a_wall_is_where_each_ray_meets_it(canvas: Canvas, patches: Texture) -> None:
    left, right = (-3.0, 4.0), (2.0, 9.0)
    canvas.wall(left, right, patches, SUNLIT, span=8.0, heights=(0, patches.height))
    differing = 0
    for v in range(canvas.height):
        for u in range(canvas.width):
            slope = (u + 0.5 - canvas.cx) / canvas.focal
            along = (slope * left[1] - left[0]) / (5.0 - slope * 5.0)
            depth = left[1] + along * 5.0
            y = EYE - (v + 0.5 - canvas.cy) * depth / canvas.focal
            expected = looked_up(patches, along * 8.0 % 4.0, y) if 0 <= along < 1 else int(HOLE)
            drawn = SKY_TEXEL if expected >= HOLE else expected
            differing += drawn != int(canvas.texels[v, u])
    assert differing < 0.01 * canvas.texels.size  # rounding at the borders of texels
    assert np.count_nonzero(canvas.texels != SKY_TEXEL) > 500


def test_a_wall_is_invisible_from_behind_and_behind_the_camera(
    canvas: Canvas, patches: Texture
) -> None:
    canvas.wall((2.0, 5.0), (-2.0, 5.0), patches, SUNLIT, span=4.0, heights=(0, 4))
    canvas.wall((-2.0, -5.0), (2.0, -5.0), patches, SUNLIT, span=4.0, heights=(0, 4))
    assert (canvas.texels == SKY_TEXEL).all()


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("x", [0.3, -3.0])
def test_a_picture_is_sampled_at_pixel_centres(
    canvas: Canvas, patches: Texture, mirrored: bool, x: float
) -> None:
    canvas.picture(x, 6.3, patches, SUNLIT, bottom=0.2, mirrored=mirrored)
    scale = canvas.focal / 6.3
    size, left = round(4 * scale), round(canvas.cx + (x - 2) * scale)
    top = round(canvas.cy + (EYE - 0.2 - 4) * scale)
    expected = np.full_like(canvas.texels, SKY_TEXEL)
    for v in range(max(0, top), min(canvas.height, top + size)):
        for u in range(max(0, left), min(canvas.width, left + size)):
            across, down = (u - left + 0.5) * 4 / size, (v - top + 0.5) * 4 / size
            found = looked_up(patches, 4 - across if mirrored else across, 4 - down)
            expected[v, u] = SKY_TEXEL if found >= HOLE else found
    assert np.array_equal(canvas.texels, expected)
    assert np.count_nonzero(expected != SKY_TEXEL) > 1000


def test_a_thin_post_is_drawn_one_pixel_wide(canvas: Canvas) -> None:
    post = texel((100, 100, 100), 2)
    canvas.post(0.0, 40.0, 0.1, 0.0, 5.0, post)
    assert (labels_of(canvas.texels) == 2).any(axis=0).sum() == 1


def test_a_pyramid_keeps_area(patches: Texture) -> None:
    ramp = np.zeros((64, 64, 4), np.uint8)
    ramp[:, ::4] = (200, 100, 50, 255)  # a quarter is covered: gone at half, there at a fifth
    gone = build_texture(Image.fromarray(ramp), 1, 8.0, levels=3, keep=0.5)
    there = build_texture(Image.fromarray(ramp), 1, 8.0, levels=3, keep=0.2)
    assert (gone.levels[2].texels >= HOLE).all()
    solid = there.levels[2].texels[there.levels[2].texels < HOLE]
    assert solid.size == 16 * 16
    assert np.abs(channels(solid)[:, :3] - (200, 100, 50)).max() <= 2


def test_ground_is_what_each_ray_meets() -> None:
    """Labels of pixels up to 10 m ahead, where sections are seen at their full size."""
    canvas = Canvas(120, 160, focal=160)
    canvas.aim(80, 60)
    ground = Ground(canvas, 60)
    sections = {n: Section(PROFILE, "grass", "side street", "zebra", n % 2) for n in range(12)}
    travelled, camera_x = 30.0, -1.75
    centre = np.full(60, -camera_x)
    ground.draw(canvas, travelled, centre, sections, shade=None)
    labels = labels_of(canvas.texels)
    differing = total = 0
    for v in range(60, 120):
        depth = canvas.focal * EYE / (v - 60 + 0.5)
        for u in range(0, 160, 3):
            x, z = (u + 0.5 - 80) * depth / canvas.focal + camera_x, travelled + depth
            if depth > 10 or abs(x) > HALF_SPAN:
                continue
            grid = section_levels(sections[int(z // LENGTH)])[0].reshape(ALONG, ACROSS)
            row, column = z % LENGTH / LENGTH * ALONG, (x + HALF_SPAN) / (2 * HALF_SPAN) * ACROSS
            differing += int(grid[int(row), int(column)]) >> 24 != labels[v, u]
            total += 1
    assert total > 1000
    assert differing < 0.01 * total


@pytest.mark.parametrize("marking", MARKINGS)
def test_markings_are_road(marking: str) -> None:
    plain = section_levels(Section(PROFILE, "paved", "paved", "dashes", 0))[0] >> 24
    marked = section_levels(Section(PROFILE, "paved", "paved", marking, 0))[0] >> 24
    assert np.array_equal(plain, marked)
    assert set(np.unique(marked)) == {ROAD, PAVEMENT}


@pytest.mark.parametrize(
    ("ground", "label"), list(zip(GROUNDS, (PAVEMENT, TREE, ROAD, ROAD), strict=True))
)
def test_what_lies_behind_the_pavement(ground: str, label: int) -> None:
    section = Section(PROFILE, ground, "paved", "dashes", 0)
    grid = section_levels(section)[0].reshape(ALONG, ACROSS) >> 24
    assert grid[ALONG // 2, 10] == label
    assert grid[5, ACROSS // 2] == ROAD


def test_sections_halve_down_to_their_mean() -> None:
    section = Section(PROFILE, "paved", "grass", "dashes", 0)
    first, last = (channels(level)[:, :3].mean() for level in section_levels(section)[::7])
    assert abs(first - last) < 2


def test_noise_never_wraps_and_has_its_spread() -> None:
    table = np.frombuffer(tone_table(Exposure(gain=3.0, contrast=1.5)), np.uint8)
    noise = noise_bank(10000, 2.0, 1).view(np.int8).astype(int)
    assert table.min() + noise.min() >= 0
    assert table.max() + noise.max() <= 255
    assert abs(noise).max() <= NOISE_LIMIT
    per_channel = noise.reshape(-1, 3)
    assert per_channel.std(axis=0) == pytest.approx(2.0, abs=0.1)
    assert per_channel.mean(axis=0) == pytest.approx([3, 0, -3], abs=0.1)


def test_the_lens_blurs_along_a_diagonal() -> None:
    texels = np.random.default_rng(2).integers(0, 1 << 24, (20, 30), dtype=np.uint32)
    optics = Optics(20, 30, Exposure(gain=1.0, contrast=1.0, noise=0.0))
    frame = optics.expose(texels, 0).astype(float)
    table = np.frombuffer(tone_table(Exposure(gain=1.0, contrast=1.0)), np.uint8)
    colour = channels(texels)[..., :3]
    expected = (colour[:-2, :-2] + 2 * colour[1:-1, 1:-1] + colour[2:, 2:]) / 4
    assert np.abs(frame[1:-1, 1:-1] - table[expected.astype(np.uint8)]).max() <= 2


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("turn", [0, 4, 15, 30])
def test_a_vehicle_is_solid_from_every_side(kind: str, turn: int) -> None:
    texture, foot = vehicle(kind, 0, turn)
    picture = np.asarray(texture.picture(0))
    body = BODIES[kind]
    share = (picture[..., 3] == 255).mean()
    assert 0.35 < share <= 1.0
    assert -0.5 < foot < 0.1
    assert body.width * 0.9 < texture.width < body.length * 1.6 + body.width


def test_a_block_is_the_same_whatever_came_before() -> None:
    forward, backward = Plan(8), Plan(8)
    first = [forward.block(number) for number in range(1, 5)]
    second = [backward.block(number) for number in range(4, 0, -1)][::-1]
    for ours, theirs in zip(first, second, strict=True):
        assert ours.section == theirs.section
        assert ours.layers == theirs.layers
        assert ours.shadow == theirs.shadow
