"""docs/results.md: rows are measured once, stale ones are named, and nothing is guessed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engines.failures import Refused, UsageError
from engines.spec import CrfParams, ModelSpec
from scenes.dataset import open_dataset
from scenes.scores import Summary
from train import results, results_heads
from train.checkpoint import load_model, save_checkpoint
from train.cost import ONCE, Cost, Images, cost
from train.evaluation import predict_with, score
from train.family import build_model
from train.published import TABLE5
from train.results_measure import Source, Thinned, digest, measure_missing, sources, stale
from train.results_page import cell, listed, page
from train.results_plot import draw_table5, draw_v2
from train.results_rows import (
    HEADS,
    REFERENCE,
    REFERENCE_ROWS,
    ROWS,
    STRATEGIES,
    TABLE5_ROWS,
    V1_CRF,
    V2_ROWS,
    Record,
    Row,
    read_records,
)

ABOUT = ("camvid:camvid", "val")


def record_of(row: Row, miou: float = 50.0) -> Record:
    strategy = STRATEGIES[row.strategy]
    architecture = HEADS.get(row.model, "deeplabv3plus_mobilenetv2")
    gmacs = 100.0 / row.output_stride
    return Record(
        row=row,
        sha256="0" * 64,
        trunk_sha256="" if row.model == REFERENCE else "1" * 64,
        training={} if row.model == REFERENCE else {"epochs": "5"},
        data=ABOUT[0],
        split=ABOUT[1],
        images_in_split=101,
        crf=V1_CRF if row.crf == "v1" else None,
        cost=Cost(
            architecture, row.output_stride, (360, 480), 11, strategy.scales, strategy.flip,
            gmacs, gmacs, 1,
        ),
        scores=Summary(miou, {"Sky": 99.0, "Tree": None}, None, 60.0, 90.0, 26),
    )  # fmt: skip


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    rows = [REFERENCE_ROWS[3], V2_ROWS[0], V2_ROWS[2]]
    for row in rows:
        record_of(row).write(tmp_path)
    assert read_records(tmp_path) == {row: record_of(row) for row in rows}


def test_every_row_has_a_file_of_its_own() -> None:
    assert len({row.stem for row in ROWS}) == len(ROWS) == len(set(ROWS))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"row": {"model": 1}}'])
def test_a_broken_file_is_named(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results" / f"{ROWS[0].stem}.json"
    path.parent.mkdir()
    path.write_text(text)
    assert results.main(["--docs", str(tmp_path)]) == 6
    assert f"{path} is no result" in capsys.readouterr().err


def test_the_papers_rows_have_their_counterparts_here() -> None:
    ours = {
        cell(HEADS[row.model], row.output_stride, STRATEGIES[row.strategy]) for row in TABLE5_ROWS
    }
    theirs = [cell(row.architecture, row.output_stride, row.strategy) for row in TABLE5[:16]]
    assert len(set(theirs)) == 16
    assert set(theirs) <= ours


def test_the_page_shows_what_was_measured_and_names_the_rest() -> None:
    before, after = Row("v3plus-no-decoder-dense", 16), Row("v3plus-dense", 16)
    v2, refined = Row("v2-aspp-s", 8), Row("v2-aspp-s", 8, crf="v1")
    mious = {before: 51.11, after: 53.33, v2: 40.25, refined: 41.75}
    text = page({row: record_of(row, miou) for row, miou in mious.items()}, [], "f" * 64)
    assert "| 16 |  |  |  |  | 51.11 |  | 6.25 | 26 of 101 | 79.17 | 68.00 |" in text
    assert "| decoder (dense) | +2.22 | x1.00 | +0.76 | x1.32 |" in text
    assert "| ASPP-S | 8 | 40.25 |  | 41.75 |" in text
    assert "| v3plus-dense, v3plus-no-decoder-dense, v2-aspp-s | epochs 5; trunk 11111111" in text
    missing = text.partition("Not measured, and so not on this page: ")[2]
    assert "v3plus-no-decoder-dense.os16 (flip, ms, ms-flip)" in missing
    assert "v2-aspp-s.os8 (once.crf-own)" in missing
    assert listed([row for row in ROWS if row not in mious]) in missing
    assert "†" not in text


def test_an_empty_page_says_so() -> None:
    text = page({}, [], "f" * 64)
    assert text.count("Not measured yet.") == 5


def test_stale_rows_are_marked_and_named() -> None:
    row = REFERENCE_ROWS[0]
    text = page({row: record_of(row, 61.0)}, [row], "f" * 64)
    assert "| 61.00 † |" in text
    assert "† Measured on other weights" in text
    assert "today: camvid-mobilenetv2.os16 (once)." in text


def test_the_plots_show_every_row(tmp_path: Path) -> None:
    few = {row: record_of(row, 40 + index) for index, row in enumerate(ROWS[::2])}
    for draw in (draw_table5, draw_v2):
        draw({}, tmp_path / "empty.png")
        draw(few, tmp_path / "few.png")
        empty, full = (np.asarray(Image.open(tmp_path / f"{n}.png")) for n in ("empty", "few"))
        assert empty.shape == full.shape
        assert (full != empty).any(axis=2).sum() > 500


@pytest.fixture
def reference(tmp_path: Path, spec: ModelSpec) -> Source:
    torch.manual_seed(0)
    path = tmp_path / "reference.safetensors"
    crf = CrfParams(2, 10, 5, 0, 1, iterations=1)
    save_checkpoint(path, build_model(spec.architecture, 11), dataclasses.replace(spec, crf=crf))
    return Source(REFERENCE, path)


def test_rows_are_measured_once_and_again_for_other_weights(
    camvid: Path, reference: Source, tmp_path: Path
) -> None:
    dataset = open_dataset(f"camvid:{camvid}", "val")
    rows = [Row(REFERENCE, 16), Row(REFERENCE, 16, "flip"), Row(REFERENCE, 16, crf="own")]
    folder, known = tmp_path / "results", {REFERENCE: reference}

    def measure(every: int = 1) -> dict[Row, Record]:
        records = read_records(folder)
        measure_missing([*rows, V2_ROWS[0]], records, known, dataset, ABOUT, every, folder)
        return read_records(folder)

    def times() -> list[int]:
        return [(folder / f"{row.stem}.json").stat().st_mtime_ns for row in rows]

    first = measure(every=2)
    assert list(first) == [row for row in ROWS if row in rows]
    assert [record.scores.images for record in first.values()] == [2] * 3
    whole = measure()
    network, spec = load_model(reference.path)
    assert whole[rows[0]].scores == score(predict_with(network, spec), spec, dataset)
    assert whole[rows[0]].cost == cost(spec.architecture, 16, Images((64, 96), 11), ONCE)
    assert whole[rows[2]].crf == spec.crf
    written = times()
    assert measure() == whole
    assert times() == written

    torch.manual_seed(1)
    save_checkpoint(reference.path, build_model(spec.architecture, 11), spec)
    known[REFERENCE] = Source(REFERENCE, reference.path)
    assert stale(whole.values(), known) == list(whole)
    again = measure()
    assert {record.sha256 for record in again.values()} == {digest(reference.path)}
    assert stale(again.values(), known) == []


def test_every_second_scene(camvid: Path) -> None:
    dataset = open_dataset(f"camvid:{camvid}", "train")
    thinned = Thinned(dataset, 3)
    assert len(thinned) == 6
    assert [scene.name for scene in thinned] == [dataset[i].name for i in range(0, 16, 3)]


def test_a_model_of_other_classes_is_refused(
    reference: Source, tmp_path: Path, spec: ModelSpec, camvid: Path
) -> None:
    other = dataclasses.replace(spec, classes=("a", "b"), palette=spec.palette[:2])
    save_checkpoint(reference.path, build_model(spec.architecture, 2), other)
    dataset = open_dataset(f"camvid:{camvid}", "val")
    with pytest.raises(Refused, match="was trained for a, b"):
        measure_missing(
            [REFERENCE_ROWS[0]], {}, {REFERENCE: reference}, dataset, ABOUT, 1, tmp_path
        )


def test_heads_are_trained_once_on_a_trunk_that_is_kept(
    camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = results_heads.SCHEDULE | {"epochs": 1, "crop": (33, 49)}
    monkeypatch.setattr(results_heads, "SCHEDULE", short | {"validate_every": 1})
    results_heads.train_missing(tmp_path, {"v2-largefov"}, f"camvid:{camvid}", threads=0)
    assert list(sources(tmp_path)) == [REFERENCE, "v2-largefov"]
    source = sources(tmp_path)["v2-largefov"]
    written = source.path.stat().st_mtime_ns
    results_heads.train_missing(tmp_path, {"v2-largefov"}, f"camvid:{camvid}", threads=0)
    assert source.path.stat().st_mtime_ns == written
    trunk, training = source.provenance()
    assert trunk == digest(tmp_path / "trunk.safetensors")
    assert (training["epochs"], training["crop"]) == ("1", "(33, 49)")
    network, spec = load_model(source.path)
    kept, _ = load_model(tmp_path / "trunk.safetensors")
    theirs = kept.backbone.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in network.backbone.state_dict().items())
    assert (spec.output_stride, spec.logits_stride) == (16, 16)


def test_heads_without_their_trunk_are_not_mixed_with_others(tmp_path: Path) -> None:
    path = results_heads.head_checkpoint(tmp_path, "v3plus")
    path.parent.mkdir()
    path.touch()
    with pytest.raises(UsageError, match="without their trunk"):
        results_heads.keep_trunk(tmp_path)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--measure", "add --data"),
        ("--data street:", "add --measure"),
        ("--heads x", "add --measure"),
        ("--every 0", "at least 1"),
    ],
)
def test_contradictory_flags(flags: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert results.main(flags.split()) == 2
    assert message in capsys.readouterr().err


def test_the_command_writes_page_plots_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record_of(ROWS[0]).write(tmp_path / "results")
    report = tmp_path / "report.json"
    assert results.main(["--docs", str(tmp_path), "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert found["rows"] == 1
    assert found["stale"] == [ROWS[0].stem]
    assert found["missing"] == [row.stem for row in ROWS[1:]]
    assert "next: python train/results.py --measure" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "results").glob("*.png")} == {"table5.png", "v2.png"}


def test_an_installed_package_has_no_page_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = tmp_path / "site-packages" / "docs"
    assert results.main(["--docs", str(docs)]) == 2
    assert "run this in a checkout, or name a folder with --docs" in capsys.readouterr().err
    assert not docs.exists()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("camvid:/home/me/camvid/", "camvid:camvid"),
        ("camvid:camvid?only=0006R0", "camvid:camvid?only=0006R0"),
        ("street:", "street:"),
    ],
)
def test_no_path_of_a_machine_enters_a_file(data: str, told: str) -> None:
    assert results.without_folders(data) == told


def test_the_committed_page_is_what_its_files_say() -> None:
    known = sources(None)
    records = read_records(results.DOCS / "results")
    text = page(records, stale(records.values(), known), known[REFERENCE].sha256)
    assert (results.DOCS / "results.md").read_text() == text, "run: python train/results.py"
