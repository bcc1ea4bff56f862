"""The page: nothing hostile gets through, nothing is loaded from elsewhere, charts are true."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from calibration.numerals import number, signed
from calibration.report import Report
from calibration.reporting import charts, pictures, scatter
from calibration.reporting.markdown import markdown
from calibration.reporting.page import render
from calibration.reporting.rows import Row
from calibration.reporting.verdict import Gate
from calibration.reporting.weak_layers import Ranking
from calibration.reporting.worst_frames import WorstFrame
from calibration.sensitivity import LayerError
from engines.spec import ModelSpec
from scenes.dataset import IGNORE

SCRIPT = "<script>alert(1)</script>"
BREAKOUT = "\"'><img src=x onerror=alert(1)>&amp;"
SPEC = ModelSpec(
    name="model <b onclick=alert(1)>",
    architecture="none",
    classes=(SCRIPT, BREAKOUT, "Road"),
    palette=((1, 2, 3), (40, 50, 60), (255, 0, 128)),
    input_size=(32, 48),
    mean=(0.0,) * 3,
    std=(1.0,) * 3,
)


def row(precision: str, drops: tuple[float | None, ...], **facts: Any) -> Row:
    per_class = {c: None if d is None else 60 - d for c, d in zip(SPEC.classes, drops, strict=True)}
    known = [drop for drop in drops if drop is not None]
    values: dict[str, Any] = {
        "flavour": None, "target": "cpu", "method": BREAKOUT, "shipped": True,
        "crf": None, "input_size": (32, 48), "output_stride": 16, "energy_mj": None,
        "miou": 60 - sum(known) / len(known), "drop": sum(known) / len(known),
        "worst_class": SCRIPT, "worst_class_drop": max(known),
        "class_drop": dict(zip(SPEC.classes, drops, strict=True)), "boundary_f": None,
        "trimap_accuracy": 40.0, "pixel_accuracy": 90.0, "agreement": 98.0,
        "p50_ms": 20.0, "p99_ms": 30.0, "bytes": 3_000_000, "note": None,
    }  # fmt: skip
    return Row(precision=precision, per_class=per_class, **{**values, **facts})


ROWS = [
    row("fp32", (0.0, 0.0, 0.0), p50_ms=40.0, p99_ms=60.0, bytes=10_000_000),
    row("int8", (2.0, -1.0, None), flavour="u8"),
    row("int8", (0.5, 0.0, None), flavour="s8", target="tensorrt", p50_ms=None, p99_ms=None),
    row("int8", (1.0, -2.0, 0.0), flavour="u8", crf=BREAKOUT, p50_ms=45.0),
    row("int8", (9.0, 8.0, 7.0), flavour="u8", shipped=False, method=SCRIPT),
    row("int8", (9.0, 9.0, 9.0), flavour="s8", target="tensorrt", shipped=False, method=SCRIPT,
        p50_ms=None, p99_ms=None),
]  # fmt: skip


def report(**changes: Any) -> Report:
    random = np.random.default_rng(0)
    frame = random.integers(0, 256, (32, 48, 3), dtype=np.uint8)
    labels = random.integers(0, 3, (32, 48), dtype=np.uint8)
    worst = WorstFrame(0, BREAKOUT, "int8", 97.0, 60.0, None, frame, labels, labels, 2 - labels)
    layer = LayerError(SCRIPT, BREAKOUT, 2, 20.0, 30.0, 0.1, 0.25)
    whole = Report(
        format=2, rankings=[Ranking("int8", "u8", "cpu", 2, [layer])], skipped=[SCRIPT],
        frame_sizes=[(32, 48)], power=BREAKOUT, model=SPEC.name, data=f"folder:{SCRIPT}",
        split=BREAKOUT, images=1, images_in_split=2,
        measured_at="2026-01-01T00:00:00+00:00", verdict=f"INT8 {SCRIPT}: keep FP32.",
        gate=Gate(1.0, {SCRIPT: 0.5}, False, [f"INT8 {BREAKOUT}"]),
        rows=ROWS, worst_frames=[worst],
        provenance={
            "source": SCRIPT, "source_sha256": BREAKOUT, "input_size": [32, 48],
            "output_stride": 16, "built_with": {SCRIPT: BREAKOUT},
            "calibration": {"method": SCRIPT, "frames": SCRIPT, "digest": BREAKOUT},
        },
        machine={"cpu": SCRIPT, "cores": 2, "load": 0.1, BREAKOUT: SCRIPT},
    )  # fmt: skip
    return dataclasses.replace(whole, **changes)


class Elements(HTMLParser):
    """Every element with its attributes, and the page's text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_names_are_text_and_never_markup() -> None:
    page = render(report(), SPEC)
    elements = Elements(page)
    assert SCRIPT in elements.text
    assert BREAKOUT in elements.text
    assert SCRIPT not in page
    known = {"html", "head", "meta", "title", "style", "body", "main", "section", "div", "span",
             "h1", "h2", "p", "b", "i", "u", "em", "strong", "small", "ul", "li", "dl", "dt", "dd",
             "table", "thead", "tbody", "tr", "th", "td", "code", "svg", "line", "circle", "path",
             "text", "figure", "figcaption", "img"}  # fmt: skip
    assert {tag for tag, _ in elements.tags} <= known
    assert not [name for _, attrs in elements.tags for name in attrs if name.startswith("on")]


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = render(report(), SPEC)
    elements = Elements(page)
    sources = [attrs["src"] for _, attrs in elements.tags if "src" in attrs]
    assert len(sources) == 5
    assert all(source and source.startswith("data:image/") for source in sources)
    assert not [attrs for _, attrs in elements.tags if "href" in attrs]
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_the_verdict_comes_first_and_a_failed_gate_is_seen() -> None:
    text = Elements(render(report(), SPEC)).text
    assert text.index("keep FP32.") < text.index("Every graph")
    assert "Gate failed" in text
    passed = report(gate=Gate(1.0, {}, True, []))
    assert "Gate passed" in Elements(render(passed, SPEC)).text


@pytest.mark.parametrize("colour", [("red", 0, 0), ("1;background:url(//evil)", 0, 0), (0, 0)])
def test_a_palette_cannot_smuggle_css(colour: Any) -> None:
    with pytest.raises(ValueError, match="palette's colours"):
        dataclasses.replace(SPEC, palette=(colour, *SPEC.palette[1:]))


def test_bars_reach_from_zero_to_the_loss_and_the_worst_class_is_first() -> None:
    chart = charts.class_chart(ROWS, SPEC)
    assert [name for _, name in chart.series] == ["INT8 CPU", "INT8 TensorRT"]
    assert [r.name for r in chart.rows] == [SCRIPT, BREAKOUT, "Road"]
    worst, best, unknown = (r.bars[0] for r in chart.rows)
    assert (worst.delta, best.delta, unknown.delta) == (-2.0, 1.0, None)
    assert worst.left + worst.width == pytest.approx(chart.zero)
    assert best.left == chart.zero
    assert worst.width == pytest.approx(2 * best.width, abs=0.02)
    assert unknown.width == 0
    assert 0 <= worst.left < best.left + best.width <= 100
    assert {tick: place for place, tick in chart.ticks}[0.0] == chart.zero


def test_noise_does_not_look_like_a_cliff() -> None:
    quiet = [ROWS[0], row("int8", (0.01, 0.0, 0.0))]
    assert charts.class_chart(quiet, SPEC).rows[0].bars[0].width == pytest.approx(1.0, abs=0.05)


def test_the_scatter_shows_what_was_timed() -> None:
    drawn = scatter.scatter(ROWS, max_drop=0.2)
    fp32, int8, refined, tried = drawn.points
    assert [p.label for p in drawn.points[:3]] == ["FP32", "INT8", "INT8 + CRF"]
    assert int8.x < fp32.x < refined.x
    assert int8.y > fp32.y > refined.y  # downwards in SVG: lower mIoU
    assert int8.x < int8.x99
    assert (int8.x - drawn.left) / (fp32.x - drawn.left) == pytest.approx(0.5, abs=0.001)
    assert drawn.limit is not None
    assert fp32.y < drawn.limit < int8.y
    gpu = dataclasses.replace(ROWS[1], target="tensorrt")
    fast = [*ROWS[:-2], dataclasses.replace(ROWS[-2], p50_ms=1.0)]  # the best of all in time alone
    assert all(drawn.top <= y <= drawn.bottom for _, y in scatter.scatter(fast, 0.2).front)
    assert scatter.scatter([*ROWS, gpu], 0.2).points[0].label == "FP32 CPU"  # two targets
    assert tried.beyond
    assert (tried.y, tried.label) == (drawn.bottom, f"{SCRIPT}: −8.0")


def test_a_generous_limit_shows_the_tries_within_it() -> None:
    drawn = scatter.scatter(ROWS, max_drop=20)
    assert not any(point.beyond for point in drawn.points)
    assert drawn.points[3].y < drawn.bottom
    assert drawn.points[3].label == ""  # named in the table


def test_the_front_joins_what_nothing_else_beats() -> None:
    drops_and_times = [(0.0, 40.0), (0.2, 20.0), (0.3, 25.0), (0.1, 30.0), (0.2, 60.0)]
    rows = [row("int8", (d, d, d), p50_ms=t, drop=d) for d, t in drops_and_times]
    timed = [scatter.Timed(r, t, t) for r, (_, t) in zip(rows, drops_and_times, strict=True)]
    assert [one.p50 for one in scatter.front(timed)] == [20.0, 30.0, 40.0]
    slow = [
        a for a in timed
        if not any(b.p50 < a.p50 and b.row.drop <= a.row.drop for b in timed)
        and not any(b.p50 <= a.p50 and b.row.drop < a.row.drop for b in timed)
    ]  # fmt: skip
    assert sorted(one.p50 for one in slow) == [20.0, 30.0, 40.0]


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(5, 50)), min_size=1, max_size=6))
def test_labels_stay_inside_the_chart(places: list[tuple[float, float]]) -> None:
    rows = [row("int8", (d, d, d), drop=d, p50_ms=t, p99_ms=t) for d, t in places]
    drawn = scatter.scatter([ROWS[0], *rows], max_drop=1.0)
    for point in drawn.points:
        half = scatter.LETTER * len(point.label) / 2
        assert drawn.left <= point.label_x - half
        assert point.label_x + half <= drawn.width + 0.1


def test_labels_of_close_points_do_not_overlap() -> None:
    rows = [ROWS[0], *(row("int8", (0.1, 0.1, 0.1), p50_ms=39.0 + i) for i in range(3))]
    points = scatter.scatter(rows, max_drop=1.0).points
    baselines = sorted(point.label_y for point in points)
    assert min(np.diff(baselines)) >= 12


def test_a_wild_p99_neither_squeezes_the_scatter_nor_goes_unsaid() -> None:
    wild = [dataclasses.replace(ROWS[0], p99_ms=2000.0), *ROWS[1:]]
    drawn = scatter.scatter(wild, max_drop=1)
    fp32 = drawn.points[0]
    assert fp32.x - drawn.left > 0.4 * (drawn.right - drawn.left)
    assert fp32.x99 == drawn.right
    assert "p99 up to 50 times p50" in Elements(render(report(rows=wild), SPEC)).text
    assert "p99 up to" not in Elements(render(report(), SPEC)).text


def test_schemes_stand_side_by_side_the_best_first() -> None:
    chart = charts.attempt_chart(ROWS)
    assert [name for _, name in chart.targets] == ["INT8 CPU", "INT8 TensorRT"]
    assert [(a.method, a.shipped) for a in chart.attempts] == [(BREAKOUT, True), (SCRIPT, False)]
    cells = [cell for attempt in chart.attempts for cell in attempt.cells]
    assert [cell and cell[1].delta for cell in cells] == [-0.5, -0.25, -8.0, -9.0]
    widths = [cell[1].width for cell in cells if cell]
    assert widths[3] == pytest.approx(18 * widths[0], rel=0.02)
    assert not charts.attempt_chart(ROWS[:4]).attempts  # nothing was tried


def test_what_is_measured_is_on_the_page_and_in_the_markdown() -> None:
    whole = report()
    page = Elements(render(whole, SPEC)).text
    lines = markdown(whole)
    for text in (page, lines):
        for said in ("INT8 CPU + CRF", "TensorRT", "59.50", "Not run here", "480×360"):
            assert said in text.replace("48×32", "480×360"), said
    assert "3.2 %" in page  # 30 dB of the logits
    assert "30.0" in lines


def test_markdown_has_no_markup_from_names() -> None:
    lines = markdown(report())
    assert "<" not in lines
    assert "\\(1\\)" in lines  # alert(1)
    tables = [line for line in lines.splitlines() if line.startswith("|")]
    cells = {line.count(" | ") for line in tables}
    assert cells == {10, 4}


@settings(deadline=None)
@given(st.floats(-1e4, 1e4), st.floats(1e-2, 1e4))
def test_ticks_are_round_even_and_inside(low: float, width: float) -> None:
    marks = charts.ticks(low, low + width, 5)
    assert 2 <= len(marks) <= 11
    assert low - 1e-6 <= marks[0]
    assert marks[-1] <= low + width + 1e-6
    steps = np.diff(marks)
    mantissa = steps[0] / 10.0 ** math.floor(math.log10(steps[0]) + 1e-9)
    assert round(mantissa, 6) in (1, 2, 5)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-4)


def decode(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2])))


def test_a_mask_has_its_classes_colours_and_ignore_is_black() -> None:
    labels = np.array([[0, 1, 2, IGNORE]], np.uint8)
    colours = np.asarray(decode(pictures.mask(labels, SPEC.palette)).convert("RGB"))
    assert [tuple(c) for c in colours[0].tolist()] == [*SPEC.palette, (0, 0, 0)]


def test_disagreement_says_who_is_right() -> None:
    frame = np.full((1, 5, 3), 100, np.uint8)
    truth = np.array([[0, 0, 0, 0, IGNORE]], np.uint8)
    reference = np.array([[0, 0, 1, 1, 0]], np.uint8)
    candidate = np.array([[0, 1, 0, 2, 1]], np.uint8)
    picture = np.asarray(decode(pictures.disagreement(frame, truth, reference, candidate)))
    grey = (50, 50, 50)
    wanted = [grey, pictures.LOST, pictures.GAINED, pictures.OTHER, pictures.OTHER]
    assert [tuple(pixel) for pixel in picture[0].tolist()] == wanted


def test_wide_frames_are_shrunk() -> None:
    frame = np.zeros((600, 1920, 3), np.uint8)
    assert decode(pictures.photo(frame)).size == (pictures.MAX_WIDTH, 200)
    labels = np.zeros((600, 1920), np.uint8)
    assert decode(pictures.mask(labels, SPEC.palette)).size == (pictures.MAX_WIDTH, 200)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.004, "0.00"), (-0.004, "0.00"), (1.5, "+1.50"), (-2, "−2.00")],
)
def test_differences_have_a_sign_unless_they_round_to_nothing(
    value: float | None, text: str
) -> None:
    assert signed(value) == text
    assert number(-0.004) == "0.00"
