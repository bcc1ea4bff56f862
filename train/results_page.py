"""docs/results.md: the two tables of the papers, on our data, from what was measured."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from train.cost import Strategy
from train.family import Architecture
from train.published import TABLE5, Published
from train.results_rows import (
    HEADS,
    REFERENCE,
    REFERENCE_ROWS,
    ROWS,
    STRATEGIES,
    TABLE5_ROWS,
    V2_ROWS,
    Record,
    Row,
)

Records = dict[Row, Record]
Cell = tuple[int, bool, bool, Strategy]  # a place in Table 5: stride, decoder, separable, strategy

# v2, table 3: VGG-16 on VOC val, mIoU before and after the CRF
PUBLISHED_V2 = {
    "v2-largefov": (65.76, 69.84),
    "v2-aspp-s": (66.98, 69.73),
    "v2-aspp-l": (68.96, 71.57),
}
TITLES = {"v2-largefov": "LargeFOV", "v2-aspp-s": "ASPP-S", "v2-aspp-l": "ASPP-L"}
ONLY_IMAGENET = 16  # rows 17 to 24 of Table 5 repeat 13 to 16 with more pretraining
NONE, STALE = "", " †"

# What one change brings, all else equal.
CHANGES = (
    ("output stride 8 for 16 (decoder, SC)", Row("v3plus", 16), Row("v3plus", 8)),
    ("decoder (dense)", Row("v3plus-no-decoder-dense", 16), Row("v3plus-dense", 16)),
    ("decoder (SC)", Row("v3plus-no-decoder", 16), Row("v3plus", 16)),
    ("SC for dense (decoder)", Row("v3plus-dense", 16), Row("v3plus", 16)),
    ("six scales (decoder, dense)", Row("v3plus-dense", 16), Row("v3plus-dense", 16, "ms")),
    (
        "mirror images as well (decoder, dense)",
        Row("v3plus-dense", 16, "ms"),
        Row("v3plus-dense", 16, "ms-flip"),
    ),
    ("all of it (decoder, SC)", Row("v3plus", 16), Row("v3plus", 8, "ms-flip")),
)


def page(records: Records, stale: Collection[Row], bundled_sha256: str) -> str:
    """The whole page; `stale` rows are marked, rows without a record are named at the end."""
    parts = [
        INTRODUCTION,
        reference_section(records, stale),
        table5_section(records),
        v2_section(records),
        schedule_section(records, bundled_sha256),
        missing_section(records, stale),
    ]
    return "\n".join(parts)


INTRODUCTION = """\
# Results

How accuracy is bought with arithmetic: table 5 of DeepLab v3+ and the heads of v2, repeated on
CamVid. Everything below is written by `python train/results.py` from the JSON files in
[results/](results), one for each row; what is missing, or was measured on other weights than the
bundled ones, is measured by `python train/results.py --measure --data camvid:DIR`.

CamVid val is one clip, seconds away from its training frames: differences between rows tell more
than their height. mIoU and boundary F (3 px) are in percent, multiply-adds in 1e9 for one 480x360
frame with all its scales and mirror images, as executed, without the CRF's; frames are spread
evenly over the split. MS averages the softmax over the scales 0.5, 0.75, ..., 1.75, flip over a
frame and its mirror image. The papers' numbers are for another network on other images (513x513,
21 classes) and count as TensorFlow 1 did; they stand here for the shape of the table, not for
comparison of its entries.
"""


def reference_section(records: Records, stale: Collection[Row]) -> str:
    """The model that ships, read in every way."""
    lines = [
        [
            str(row.output_stride), *ways(row), mark(row.crf != "off"),
            f"{number(record.scores.miou)}{STALE if row in stale else NONE}",
            number(record.scores.boundary_f), number(record.cost.plain_gmacs), frames(record),
        ]
        for row, record in chosen(records, REFERENCE_ROWS)
    ]  # fmt: skip
    header = ["OS", "MS", "flip", "CRF", "mIoU", "boundary F", "multiply-adds", "frames"]
    return section(
        "The bundled model",
        f"`{REFERENCE}`, trained at full length ([its card](../train/weights/{REFERENCE}.md)), at "
        "the output stride that it was trained at (16) and at 8. The CRF has the settings of the "
        "model's spec, which were tuned for a single pass at 16.",
        table(header, lines),
    )


def table5_section(records: Records) -> str:
    """Table 5's shape: the v3+ heads, with the paper's rows, and what a change brings."""
    published = published_cells()
    lines = []
    for row, record in chosen(records, TABLE5_ROWS):
        stride, decoder, separable, _ = cell(
            record.cost.model, row.output_stride, STRATEGIES[row.strategy]
        )
        paper = published.get((stride, decoder, separable, STRATEGIES[row.strategy]))
        lines.append(
            [
                str(stride), mark(decoder), mark(separable), *ways(row),
                number(record.scores.miou), number(record.scores.boundary_f),
                number(record.cost.plain_gmacs), frames(record),
                *([number(paper.miou), number(paper.gmacs)] if paper else [NONE, NONE]),
            ]
        )  # fmt: skip
    header = [
        "OS", "decoder", "SC", "MS", "flip", "mIoU", "boundary F", "multiply-adds", "frames",
        "v3+ mIoU", "v3+ multiply-adds",
    ]  # fmt: skip
    return section(
        "Table 5's shape",
        "The v3+ head with and without its decoder and its separable convolutions (SC), on the "
        "MobileNetV2 trunk; trained at output stride 16. Beside it the paper's rows 1 to 16: "
        "Xception-65 on VOC val, pretrained on ImageNet.",
        "![mIoU against multiply-adds](results/table5.png)",
        table(header, lines),
        "What one change brings, in points of mIoU and times the multiply-adds:",
        table(["change", "mIoU", "cost", "v3+ mIoU", "v3+ cost"], changes(records)),
    )


def changes(records: Records) -> list[list[str]]:
    """Differences between measured rows, and between the same rows of the paper."""
    published, lines = published_cells(), []
    for title, before, after in CHANGES:
        if before not in records or after not in records:
            continue
        ours = [records[row] for row in (before, after)]
        papers = [
            published.get(
                cell(records[row].cost.model, row.output_stride, STRATEGIES[row.strategy])
            )
            for row in (before, after)
        ]
        line = [title, f"{ours[1].scores.miou - ours[0].scores.miou:+.2f}"]
        line.append(f"x{ours[1].cost.plain_gmacs / ours[0].cost.plain_gmacs:.2f}")
        old, new = papers
        if old and new and old.miou is not None and new.miou is not None:
            line += [f"{new.miou - old.miou:+.2f}", f"x{new.gmacs / old.gmacs:.2f}"]
        else:
            line += [NONE, NONE]
        lines.append(line)
    return lines


def v2_section(records: Records) -> str:
    """v2's shape: three heads, before and after the CRF."""
    lines = []
    for row, before in chosen(records, [row for row in V2_ROWS if row.crf == "off"]):
        refined = [records.get(Row(row.model, row.output_stride, crf=crf)) for crf in ("own", "v1")]
        paper = PUBLISHED_V2[row.model] if row.output_stride == 8 else (None, None)
        lines.append(
            [
                TITLES[row.model], str(row.output_stride), number(before.scores.miou),
                *(number(record.scores.miou if record else None) for record in refined),
                number(before.scores.boundary_f),
                *(number(record.scores.boundary_f if record else None) for record in refined),
                number(before.cost.plain_gmacs), frames(before), *map(number, paper),
            ]
        )  # fmt: skip
    header = [
        "head", "OS", "mIoU", "mild CRF", "v1's CRF", "boundary F", "mild CRF", "v1's CRF",
        "multiply-adds", "frames", "v2 mIoU", "v2 with CRF",
    ]  # fmt: skip
    return section(
        "v2's shape",
        "One 3x3 classifier at rate 12 (LargeFOV), or the sum of four at rates 2, 4, 8, 12 "
        "(ASPP-S) or 6, 12, 18, 24 (ASPP-L), on the MobileNetV2 trunk; at output stride 16, where "
        "they were trained, the rates are half of that. Before the CRF and after: with the mild "
        "settings that `evaluate.py --crf exact` takes for a model without its own, and with those "
        "of DeepLab v1 (w1 4, σα 49, σβ 5, w2 3, σγ 3, 10 iterations). Beside it table 3 of v2: "
        "VGG-16 on VOC val at output stride 8. VGG-16 was not trained here.",
        "![mIoU against multiply-adds](results/v2.png)",
        table(header, lines),
    )


def schedule_section(records: Records, bundled_sha256: str) -> str:
    """How the heads were trained, from what their runs say."""
    runs: dict[str, list[str]] = {}
    for name in HEADS:
        record = next((r for row, r in records.items() if row.model == name), None)
        if record:
            settings = ", ".join(f"{key} {value}" for key, value in record.training.items())
            runs.setdefault(f"{settings}; trunk {record.trunk_sha256[:12]}", []).append(name)
    lines = [[", ".join(names), settings] for settings, names in runs.items()]
    return section(
        "Who was trained how long",
        f"`{REFERENCE}` has a schedule of its own, on its card. Every other row is a head that was "
        "trained from scratch for minutes on a frozen trunk, by `python train/results.py --measure "
        "--heads DIR --data camvid:DIR`, so its height says little about what the head could reach "
        "and a head that learns slowly looks worse than it is. The trunk is named by the "
        f"start of its file's sha256 (the bundled one is now {bundled_sha256[:12]}); it learnt at "
        "output stride 16 together with a separable v3+ head, which favours that head's kind.",
        table(["heads", "settings of train/fit.py, and the trunk"], lines),
    )


def missing_section(records: Records, stale: Collection[Row]) -> str:
    """Rows that the page lacks, and rows that are out of date."""
    missing = [row for row in ROWS if row not in records]
    parts = []
    if stale:
        parts.append(
            f"† Measured on other weights than those in `train/weights` today: {listed(stale)}. "
            "`python train/results.py --measure --data camvid:DIR` measures them again."
        )
    if missing:
        parts.append(f"Not measured, and so not on this page: {listed(missing)}.")
    return "\n\n".join(parts) + "\n" if parts else ""


def listed(rows: Collection[Row]) -> str:
    """Rows by model and output stride: `v3plus.os16 (once, flip)`."""
    groups: dict[str, list[str]] = {}
    for row in rows:
        model, stride, way = row.stem.split(".", 2)
        groups.setdefault(f"{model}.{stride}", []).append(way)
    return ", ".join(f"{name} ({', '.join(names)})" for name, names in groups.items())


def cell(architecture: str, output_stride: int, strategy: Strategy) -> Cell:
    """The place of a network in Table 5."""
    parsed = Architecture.parse(architecture)
    return output_stride, parsed.has("decoder"), parsed.has("separable"), strategy


def published_cells() -> dict[Cell, Published]:
    """The paper's rows by their place."""
    return {
        cell(row.architecture, row.output_stride, row.strategy): row
        for row in TABLE5[:ONLY_IMAGENET]
    }


def chosen(records: Records, rows: Iterable[Row]) -> list[tuple[Row, Record]]:
    """Those of `rows` that have been measured."""
    return [(row, records[row]) for row in rows if row in records]


def ways(row: Row) -> list[str]:
    """The MS and flip columns."""
    strategy = STRATEGIES[row.strategy]
    return [mark(len(strategy.scales) > 1), mark(strategy.flip)]


def frames(record: Record) -> str:
    """How many frames were scored."""
    return f"{record.scores.images} of {record.images_in_split}"


def mark(holds: bool) -> str:
    """A tick."""
    return "✓" if holds else NONE


def number(value: float | None) -> str:
    """Two decimals."""
    return NONE if value is None else f"{value:.2f}"


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    if not lines:
        return "Not measured yet."
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def section(title: str, *paragraphs: str) -> str:
    """A Markdown section."""
    return "\n\n".join([f"## {title}", *paragraphs]) + "\n"
