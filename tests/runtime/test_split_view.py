"""The split view: what is on which side, and what is lit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.blend import blend
from engines.session import Session
from engines.spec import ModelSpec
from runtime.agreement import Match
from runtime.overlay import font_size
from runtime.split_view import DIM, SplitView, lifted, status_line

HEIGHT, WIDTH = 160, 200
LINE = font_size(HEIGHT) * 3 // 2  # rows of one line of text
INSIDE = slice(2 * LINE, HEIGHT - LINE)  # rows without text


Picture = NDArray[np.uint8]


def drawn(spec: ModelSpec, alpha: float) -> tuple[Picture, Picture, Picture, Picture]:
    """The picture, the frame, and both label maps."""
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    first = rng.integers(0, 3, (HEIGHT, WIDTH)).astype(np.uint8)
    second = np.where(rng.random(first.shape) < 0.1, (first + 1) % 3, first).astype(np.uint8)
    titles = "A   fp32 on cpu   48 ms", "B   int8 on cpu   17 ms"
    return SplitView(spec, alpha).draw(frame, first, second, titles, ""), frame, first, second


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_each_side_is_dimmed_where_both_agree_and_lit_in_its_own_class_elsewhere(
    session: Session, alpha: float
) -> None:
    spec = session.spec
    picture, frame, *sides = drawn(spec, alpha)
    assert picture.shape == (HEIGHT, 2 * WIDTH, 3)
    same = sides[0] == sides[1]
    lit = lifted(spec.palette)
    for number, labels in enumerate(sides):
        half = picture[:, number * WIDTH : (number + 1) * WIDTH]
        dimmed = blend(frame, labels, spec.palette, alpha) * (DIM / 256)
        expected = np.where(same[..., None], dimmed, lit[labels])
        assert np.abs(half.astype(float) - expected)[INSIDE].max() <= 2  # roundings of two steps
    assert (lit > np.asarray(spec.palette)).any(axis=1).all()


def test_titles_stand_over_their_sides_and_the_line_over_both(session: Session) -> None:
    frame = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    view = SplitView(session.spec, 0.5)
    plain = view.draw(frame, labels, labels, ("", ""), "")
    written = view.draw(frame, labels, labels, ("left", "right"), "both " * 12)
    changed = (plain != written).any(axis=2)
    assert changed[:LINE, :WIDTH].any()
    assert changed[:LINE, WIDTH:].any()
    second_line = changed[LINE : 2 * LINE]
    assert second_line[:, :WIDTH].any()
    assert second_line[:, WIDTH:].any()  # one line across the middle
    assert not changed[2 * LINE :].any()
    assert (frame == 90).all()  # the camera's picture is left alone


def test_the_line_says_how_far_they_agree_and_where_not() -> None:
    line = status_line(Match(0.98765, 1, 0.0112), 0.99, "middle", 24.6, 0.0314)
    assert line == "98.77 % agree   mean 99.00 %   most in middle (1.12 %)   25 FPS   age 31 ms"
    assert "most" not in status_line(Match(1.0, None, 0.0), 1.0, "", 25, 0.03)
