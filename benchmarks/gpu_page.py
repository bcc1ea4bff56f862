"""What `benchmarks/gpu.py` measured, as a page for people and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.gpu_place import Place
from benchmarks.gpu_run import Outcome
from engines.atomic import write_text

Rows = Iterable[Sequence[str]]


def slug(gpu: str) -> str:
    """A file's name for a GPU: "NVIDIA H100 80GB HBM3" is nvidia-h100-80gb-hbm3."""
    return re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")


def write_page(place: Place, outcomes: list[Outcome], docs: Path) -> Path:
    """Write docs/<gpu>.md and .json from the results that there are; the page's path."""
    assert place.gpu is not None
    results = {path.stem: json.loads(path.read_text()) for path in measured(place, outcomes)}
    data = {"gpu": asdict(place.gpu), "parts": [asdict(each) for each in outcomes]} | results
    page = docs / f"{slug(place.gpu.name)}.md"
    write_text(page.with_suffix(".json"), json.dumps(data, indent=1) + "\n")
    write_text(page, "\n".join(lines(place, outcomes, results)) + "\n")
    return page


def measured(place: Place, outcomes: list[Outcome]) -> list[Path]:
    """The JSON files of parts that went well; a failed part's may be of an earlier call."""
    fine = tuple(each.name for each in outcomes if each.status == "ok")
    found = (path for name in fine for path in place.out.glob(f"{name}*.json"))
    return sorted(path for path in set(found) if path.stem != "machine")


def lines(place: Place, outcomes: list[Outcome], results: dict[str, Any]) -> Iterator[str]:
    """The page."""
    assert place.gpu is not None
    gpu = place.gpu
    yield f"# {gpu.name}"
    yield ""
    yield (
        f"Compute capability {gpu.compute_capability}, driver for CUDA {gpu.cuda}. Written by "
        "`python benchmarks/gpu.py`; all numbers are in the JSON file beside this page."
    )
    yield from table("Parts", ("part", "", "s", "", "sources"), parts(outcomes))
    engines = [data for name, data in results.items() if name.startswith("engines-")]
    yield from table("Engines", ("target", "precision", "MB", "build s", "layers"), built(engines))
    found = {name: data for name, data in results.items() if name.startswith("verify-")}
    head = ("target", "verdict", "pixels with FP32's label", "worst atrous layer, share of range")
    yield from table("Verification", head, verified(found))
    rows = results.get("report", {}).get("rows", [])
    yield from table("Accuracy", ("target", "precision", "mIoU", "drop", "p50 ms"), accuracy(rows))
    speed = results.get("speed", {}).get("results", [])
    yield from table(
        "Against PyTorch and the CPU",
        ("ours", "peer", "size", "ours ms", "peer ms", "faster", "same labels"),
        against(speed),
    )
    crf = results.get("crf", {}).get("results", [])
    yield from table(
        "CRF against pydensecrf",
        ("ours", "peer", "size", "ours ms", "peer ms", "faster", "same labels"),
        against(crf),
    )
    streams = {name: data for name, data in results.items() if name.startswith("stream-")}
    yield from table("Stream", ("target", "FPS", "frame age p50 ms", "p99 ms"), streamed(streams))


def table(title: str, head: Sequence[str], rows: Rows) -> Iterator[str]:
    """A heading and a table; nothing where there are no rows."""
    rows = list(rows)
    if rows:
        yield from ("", f"## {title}", "", row(head), row(["---"] * len(head)), *map(row, rows))


def row(cells: Sequence[str]) -> str:
    """One line; a bar or a line break inside a cell would end it."""
    clean = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(clean)} |"


def parts(outcomes: list[Outcome]) -> Rows:
    """How each ended."""
    for each in outcomes:
        yield each.name, each.status, f"{each.seconds:.0f}", each.reason, each.revision


def built(engines: list[dict[str, Any]]) -> Rows:
    """Each plan."""
    for engine in (row for data in engines for row in data["engines"] if row["built"]):
        size, seconds = f"{engine['bytes'] / 1e6:.1f}", f"{engine['seconds']:.1f}"
        yield engine["target"], engine["precision"], size, seconds, engine["layers"] or ""


def verified(found: dict[str, Any]) -> Rows:
    """Runs of export/verify.py."""
    for name, data in found.items():
        shares = ", ".join(f"{key} {share:.2%}" for key, share in data["label_agreement"].items())
        worst = data["oracle_max_abs"]
        told = "" if worst is None else f"{worst:.1e}"
        yield name.removeprefix("verify-"), data["verdict"], shares, told


def accuracy(rows: list[dict[str, Any]]) -> Rows:
    """What ships, of the accuracy report."""
    for each in rows:
        if each["shipped"] and not each["crf"]:
            time = each["p50_ms"]
            yield (
                each["target"], each["precision"], f"{each['miou']:.2f}", f"{each['drop']:.2f}",
                "" if time is None else f"{time:.2f}",
            )  # fmt: skip


def against(rows: list[dict[str, Any]]) -> Rows:
    """Rows of a benchmark."""
    for each in rows:
        settings = each["settings"]
        what = [settings["size"], settings.get("setting", "")]
        yield (
            each["name"], each["peer"], " ".join(filter(None, what)), f"{each['ours_ms']:.2f}",
            f"{each['peer_ms']:.2f}", f"{each['ratio']:.2f}x", f"{each['agreement']:.2%}",
        )  # fmt: skip


def streamed(streams: dict[str, Any]) -> Rows:
    """Runs of the stream."""
    for name, data in streams.items():
        age = data["frame_age"]
        fps, p50, p99 = data["fps"], age["p50_ms"], age["p99_ms"]
        yield name.removeprefix("stream-"), f"{fps:.1f}", f"{p50:.1f}", f"{p99:.1f}"
