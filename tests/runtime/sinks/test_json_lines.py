"""Lines of JSON are checked against the shipped schema, and their numbers against the labels."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.failures import Failure, UsageError
from runtime.agreement import Agreement
from runtime.lane import Result
from runtime.sinks import json_lines
from runtime.sinks.json_lines import Detail, JsonLines, check_results, describe, keep_for_results

CLASSES = ("road", "sky", "car")
DETAIL = Detail("polygons", min_region=0.01, tolerance=1.0)
Make = Callable[..., Result]


@pytest.fixture(scope="module")
def schema() -> Any:
    return json.loads(Path(json_lines.__file__).with_name("results.schema.json").read_text())


def test_a_file_of_lines_that_follow_the_schema(
    tmp_path: Path, make_result: Make, schema: Any
) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="the [dev] extra checks the schema")
    path = tmp_path / "out.jsonl"
    with JsonLines(path, CLASSES, DETAIL) as sink:
        assert all(sink.put(make_result(index, camera=index % 2)) for index in range(6))
        assert len(path.read_text().splitlines()) == 6  # while it grows
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    jsonschema.Draft202012Validator.check_schema(schema)
    for line in lines:
        jsonschema.validate(line, schema)
    assert [(line["camera"], line["index"]) for line in lines] == [(i % 2, i) for i in range(6)]
    assert [line["time"] for line in lines] == [index / 25 for index in range(6)]


def test_what_a_line_says(make_result: Make) -> None:
    result = make_result(7, size=(40, 60))
    line = describe(result, CLASSES, DETAIL)
    assert line["size"] == [60, 40]
    assert line["shares"] == {"road": 0.75, "sky": 0.0, "car": 0.25}
    road, car = line["regions"]
    assert (road["class"], road["share"], road["box"]) == ("road", 0.75, [0, 0, 60, 40])
    assert (car["class"], car["share"], car["box"]) == ("car", 0.25, [0, 20, 30, 40])
    assert car["polygon"] == [[0, 20], [30, 20], [30, 40], [0, 40]]
    assert "agreement" not in line


def test_age_and_capture_tell_the_same_moment(make_result: Make) -> None:
    before = time.time()
    line = describe(make_result(), CLASSES, DETAIL)
    captured = datetime.strptime(line["captured"], "%Y-%m-%dT%H:%M:%S.%fZ")
    at = captured.replace(tzinfo=timezone.utc).timestamp()
    assert line["age_ms"] >= 0
    assert before - 0.1 <= at <= time.time()


def test_small_regions_and_labels_without_a_class_are_left_out(make_result: Make) -> None:
    result = make_result(size=(10, 10))
    result.labels[:] = 255
    result.labels[0, :2] = 1
    assert [
        r["share"] for r in describe(result, CLASSES, Detail("polygons", 0.02, 0))["regions"]
    ] == [0.02]
    assert describe(result, CLASSES, Detail("polygons", 0.03, 0))["regions"] == []
    assert describe(result, CLASSES, Detail("polygons", 0, 0))["shares"]["sky"] == 0.02
    assert describe(result, CLASSES[:1], Detail("polygons", 0, 0))["regions"] == []


@pytest.mark.parametrize(
    ("regions", "keys"),
    [("polygons", {"class", "share", "box", "polygon"}), ("boxes", {"class", "share", "box"})],
)
def test_how_much_is_said_of_regions(
    make_result: Make, schema: Any, regions: str, keys: set[str]
) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="the [dev] extra checks the schema")
    result = make_result()
    line = describe(result, CLASSES, Detail(regions, 0.01, 1.0))
    jsonschema.validate(line, schema)
    full = describe(result, CLASSES, DETAIL)["regions"]
    assert line["regions"] == [{key: region[key] for key in keys} for region in full]


def test_regions_can_be_left_out(make_result: Make, schema: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="the [dev] extra checks the schema")
    line = describe(make_result(), CLASSES, Detail("off", 0.01, 1.0))
    jsonschema.validate(line, schema)
    assert "regions" not in line


def test_agreement_stands_in_the_line_if_there_is_a_reference(
    tmp_path: Path, make_result: Make, schema: Any
) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="the [dev] extra checks the schema")
    none, some = Agreement(CLASSES), Agreement(CLASSES)
    labels = make_result().labels
    some.add(labels, np.where(labels, labels, np.uint8(1)), 0, 0.0)
    with JsonLines(tmp_path / "o", CLASSES, DETAIL, [none, some]) as sink:
        sink.put(make_result(camera=0))
        sink.put(make_result(camera=1))
    lines = [json.loads(line) for line in (tmp_path / "o").read_text().splitlines()]
    assert [line["agreement"] for line in lines] == [None, 0.25]
    for line in lines:
        jsonschema.validate(line, schema)


def test_a_new_run_begins_the_file_anew(tmp_path: Path, make_result: Make) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old\n" * 100)
    with JsonLines(path, CLASSES, DETAIL) as sink:
        sink.put(make_result())
    assert len(path.read_text().splitlines()) == 1


def test_a_full_disk_leaves_whole_lines(
    tmp_path: Path, make_result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.jsonl"
    real, room = os.write, 1000

    def nearly_full(file: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        count = real(file, data[:room])
        room -= count
        return count

    monkeypatch.setattr(os, "write", nearly_full)
    with (
        JsonLines(path, CLASSES, DETAIL) as sink,
        pytest.raises(Failure, match=r"results to .*out\.jsonl ended \(No space left.*df -h"),
    ):
        for index in range(100):
            sink.put(make_result(index))
    lines = path.read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines] == list(range(len(lines)))
    assert 0 < len(lines) < 5


def test_standard_output_gets_lines_alone(
    make_result: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    with keep_for_results(Path("-")), JsonLines(Path("-"), CLASSES, DETAIL) as sink:
        print("for people")
        sink.put(make_result(3))
    said = capfd.readouterr()
    assert json.loads(said.out)["index"] == 3
    assert said.err == "for people\n"


def test_without_results_people_are_told_on_standard_output(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with keep_for_results(None), keep_for_results(Path("out.jsonl")):
        print("for people")
    assert capfd.readouterr().out == "for people\n"


def test_a_reader_that_left_ends_the_stream(
    make_result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(os, "dup", lambda _: writer)
    with JsonLines(Path("-"), CLASSES, DETAIL) as sink:
        assert sink.put(make_result())
        os.close(reader)
        assert not sink.put(make_result())


@pytest.mark.parametrize(
    ("name", "message"), [("folder", "is a folder"), ("missing/out.jsonl", "no folder .*mkdir -p")]
)
def test_where_results_cannot_go(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=message):
        check_results(tmp_path / name)


def test_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(UsageError, match="no permission"):
        check_results(tmp_path / "out.jsonl")
    check_results(Path("-"))


def test_shares_are_of_all_pixels(make_result: Make) -> None:
    result = make_result(size=(480, 640))
    generator = np.random.default_rng(0)
    result.labels[:] = generator.integers(0, 3, result.labels.shape)
    line = describe(result, CLASSES, Detail("polygons", 1, 0))
    assert sum(line["shares"].values()) == pytest.approx(1, abs=2e-5)
    for index, name in enumerate(CLASSES):
        assert line["shares"][name] == pytest.approx((result.labels == index).mean(), abs=1e-5)
