"""Labels of shards against the stream's own way, what is left out, and what is not done twice.

`Planner` and `Worker` are called as Ray calls them, but here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from engines.bundle import Bundle
from engines.failures import Failure, Refused
from engines.session import open_session
from runtime.cpu_path import CpuPath
from runtime.labelling import work
from runtime.labelling.fleet import ATTEMPTS, Planner, Worker
from runtime.labelling.inputs import find_inputs
from runtime.labelling.labeller import Labeller
from runtime.labelling.model import Model, choose_model
from runtime.labelling.output import Output
from runtime.labelling.plan import Plan, Shard, SourceFile
from runtime.labelling.report import Report
from runtime.labelling.video_shards import plan_video
from runtime.labelling.work import units_of
from runtime.refiner import choose_crf
from runtime.source import open_source


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten frames each, and two images in a group."""
    monkeypatch.setattr(work, "plan_video", partial(plan_video, frames=10))
    monkeypatch.setattr(work, "FRAMES", 2)


@dataclass(frozen=True)
class Bench:
    """Runs the way of all shards in this process."""

    bundle: Path
    inputs: Path
    output: Path

    def run(self, crf: str = "off", name: str = "run") -> Report:
        """All reports as one."""
        output = Output(self.output)
        bundle = Bundle.open(self.bundle)
        model, _ = choose_model(bundle, "fp32", "cpu", crf)
        output.begin(model.settings(bundle))
        return total(self.reports(model, output, name))

    def reports(self, model: Model, output: Output, name: str) -> Iterator[dict[str, Any]]:
        plan, worker = Planner(self.output), Worker(model, self.output, 1, name)
        for unit in units_of(find_inputs([self.inputs], self.output), output):
            item = json.dumps([unit.key, unit.video and str(unit.video)])
            for row in plan({"item": item}):
                yield json.loads(worker(row)["item"])

    def files(self) -> dict[str, bytes]:
        """Everything below the output."""
        found = (path for path in self.output.rglob("*") if path.is_file())
        return {str(path.relative_to(self.output)): path.read_bytes() for path in found}

    def lines(self) -> list[dict[str, Any]]:
        """All statistics."""
        files = sorted(self.output.glob("statistics/**/*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def labels(self, line: dict[str, Any]) -> NDArray[np.uint8]:
        """The label map of a line."""
        return np.asarray(Image.open(self.output / line["labels"]))


def total(reports: Iterator[dict[str, Any]]) -> Report:
    whole = Report()
    for report in reports:
        whole = Report(
            whole.frames + report["frames"],
            whole.resumed + report["resumed"],
            failures=whole.failures | report["failures"],
        )
    return whole


@pytest.fixture
def bench(tiny_bundle: Path, folder: Path, tmp_path: Path) -> Bench:
    return Bench(tiny_bundle, folder, tmp_path / "out")


@pytest.mark.parametrize("crf", ["off", "fast"])
def test_labels_are_the_streams(bench: Bench, crf: str) -> None:
    assert bench.run(crf) == Report(frames=35)
    lines = bench.lines()
    bundle = Bundle.open(bench.bundle)
    seen = 0
    with open_session(bundle, "fp32", "cpu") as session:
        path = CpuPath(session, refiner=choose_crf(crf, bundle.spec)[0])
        for name in ("clips/a.mp4", "b.mkv", "photos/x.png", "photos/y.jpg", "z.bmp"):
            mine = [line for line in lines if line["input"] == name]
            frames = list(open_source(str(bench.inputs / name)))
            for line, frame in zip(mine, frames, strict=True):
                labels = path.label(frame, path.infer(path.prepare(frame)))
                np.testing.assert_array_equal(bench.labels(line), labels)
                assert line["size"] == [labels.shape[1], labels.shape[0]]
                shares = [np.mean(labels == index) for index in range(len(bundle.spec.classes))]
                assert tuple(line["shares"]) == bundle.spec.classes
                assert list(line["shares"].values()) == pytest.approx(shares, abs=1e-5)
                if name.endswith("4"):
                    assert (line["index"], line["time"]) == (frame.index, frame.index / 25)
                seen += 1
    assert seen == len(lines) == 35
    assert len(list(bench.output.rglob("*.png"))) == 35


def test_what_is_finished_is_not_done_again(bench: Bench) -> None:
    bench.run()
    before = bench.files()
    assert bench.run() == Report(resumed=35)
    assert bench.files() == before


def test_every_kind_of_rest_is_finished(bench: Bench) -> None:
    """Whatever a run that dies leaves behind, the next one ends where it would have."""
    bench.run()
    before = bench.files()
    shutil.rmtree(bench.output / "statistics/b.mkv")  # died before the plan
    (bench.output / "statistics/clips/a.mp4/00000010.jsonl").unlink()  # in the second shard
    (bench.output / "labels/clips/a.mp4/00000012.png").write_bytes(b"half a pict")
    (bench.output / "labels/clips/a.mp4/00000013.png").unlink()
    (group,) = (bench.output / "statistics/photos").glob("images-*")
    (group / "00000000.jsonl").unlink()  # in a group of images
    assert bench.run() == Report(frames=7 + 10 + 2, resumed=15 + 1)
    assert bench.files() == before


def test_new_inputs_are_added(bench: Bench) -> None:
    bench.run()
    shutil.copy(bench.inputs / "photos/x.png", bench.inputs / "photos/a new one.png")
    shutil.copy(bench.inputs / "b.mkv", bench.inputs / "c.mkv")
    assert bench.run() == Report(frames=1 + 7, resumed=35)
    assert len(bench.lines()) == 43


def test_what_cannot_be_read_is_named_and_the_rest_labelled(bench: Bench) -> None:
    (bench.inputs / "bad.mp4").write_bytes(b"no video")
    (bench.inputs / "photos/a.png").write_bytes(b"no image")
    whole = (bench.inputs / "clips/a.mp4").read_bytes()
    (bench.inputs / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    report = bench.run()
    assert report.frames == 35
    assert set(report.failures) == {"bad.mp4", "cut.mp4", "photos/a.png"}
    assert all(str(bench.inputs) in why for why in report.failures.values())
    again = bench.run()  # they are tried again
    assert (again.frames, again.resumed, again.failures) == (0, 35, report.failures)
    shutil.copy(bench.inputs / "clips/a.mp4", bench.inputs / "cut.mp4")
    shutil.copy(bench.inputs / "photos/x.png", bench.inputs / "photos/a.png")
    (bench.inputs / "bad.mp4").unlink()
    assert bench.run() == Report(frames=26, resumed=35)


def test_damage_inside_a_video_is_left_out(bench: Bench, tmp_path: Path) -> None:
    """As the stream does: the frames around it keep their numbers' order and their times."""
    path = bench.inputs / "clips/a.mp4"
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 60] = bytes(60)
    path.write_bytes(data)
    theirs = list(open_source(str(path)))
    bench.run()
    lines = [line for line in bench.lines() if line["input"] == "clips/a.mp4"]
    assert [line["time"] for line in lines] == [round(frame.time, 4) for frame in theirs]
    assert len({line["index"] for line in lines}) == len(lines)


def test_an_input_that_was_exchanged_is_refused(bench: Bench) -> None:
    bench.run()
    shutil.copy(bench.inputs / "clips/a.mp4", bench.inputs / "b.mkv")
    report = bench.run()
    assert list(report.failures) == ["b.mkv"]
    assert "is not the file that was labelled" in report.failures["b.mkv"]
    assert report.resumed == 28


def test_one_that_was_exchanged_before_it_was_labelled_is_planned_anew(bench: Bench) -> None:
    output = Output(bench.output)
    (unit,) = (
        unit for unit in units_of(find_inputs([bench.inputs], bench.output), output)
        if unit.key == "b.mkv"
    )  # fmt: skip
    assert work.plan_of(unit, output).shards[0].count == 7
    shutil.copy(bench.inputs / "clips/a.mp4", bench.inputs / "b.mkv")
    assert sum(shard.count for shard in work.plan_of(unit, output).shards) == 25


def test_a_folder_of_other_settings_is_refused(bench: Bench) -> None:
    bench.run("off")
    with pytest.raises(Refused, match="crf off, now fast"):
        bench.run("fast")


def test_a_folder_of_other_files_is_refused(bench: Bench) -> None:
    bench.output.mkdir()
    (bench.output / "thesis.tex").write_text("years of work")
    with pytest.raises(Refused, match="name an empty --output folder"):
        bench.run()


def test_an_output_that_is_a_file_is_refused(bench: Bench) -> None:
    bench.output.write_text("years of work")
    with pytest.raises(Refused, match="is a file: name a folder for --output"):
        bench.run()


def test_a_plan_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("[]")
    with pytest.raises(Refused, match="is no plan"):
        Plan.parse(tmp_path / "plan.json")


def test_a_shard_that_kills_its_workers_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's death is an exception here; Ray starts another one with the same shard."""
    label = Labeller.label

    def deadly(self: Labeller, key: str, *rest: Any) -> Report:
        if key == "b.mkv":
            raise SystemExit
        return label(self, key, *rest)

    monkeypatch.setattr(Labeller, "label", deadly)
    for _ in range(ATTEMPTS):
        with pytest.raises(SystemExit):
            bench.run()
    report = bench.run()
    assert report.failures == {
        "b.mkv": "frames 0 to 6 killed 3 workers: is the file damaged, or memory short? see the "
        "kernel's log"
    }
    assert report.frames + report.resumed == 28
    with pytest.raises(SystemExit):
        bench.run(name="another run")  # tries again


def test_a_full_disk_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(Failure, match="No space left on device"):
        bench.run()


def test_a_disk_that_is_full_when_a_shard_begins_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text

    def full(self: Path, data: str, **options: Any) -> int:
        if self.suffix == ".attempts":
            raise OSError(28, "No space left on device")
        return write(self, data, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(Failure, match="No space left on device"):
        bench.run()


def test_a_video_may_be_called_like_a_group_of_images(bench: Bench) -> None:
    """Of which the rest would be forgotten while the first shard is not finished."""
    video, output = bench.inputs / "images-a.mp4", Output(bench.output)
    (bench.inputs / "b.mkv").rename(video)
    shards = Shard(0, 4, 0, 4, 0), Shard(4, 3, 4, None, 0)
    output.plan(video.name, Plan((SourceFile.of(video.name, video),), shards, is_video=True))
    output.finish(video.name, shards[1], [{}] * 3)
    units_of(find_inputs([bench.inputs], bench.output), output)
    assert output.finished(video.name, shards[1]) == 3
