"""One engine, and what it makes of a shard: label maps and statistics, by the stream's own way."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engines.bundle import Bundle
from engines.failures import SourceFailed
from engines.session import open_session
from runtime.cpu_path import CpuPath
from runtime.frame_path import FramePath
from runtime.labelling.model import Model
from runtime.labelling.output import Output
from runtime.labelling.plan import Plan, Shard
from runtime.labelling.report import Report
from runtime.labelling.shard_source import ImageShard, VideoShard
from runtime.labelling.work import group_plan
from runtime.lane import Result
from runtime.pipeline import one_camera
from runtime.refiner import choose_crf
from runtime.sinks.label_maps import label_png
from runtime.source import FrameSource
from runtime.summary import peak_rss_mb


class Labeller:
    """`with Labeller(model, output, threads) as labeller: labeller.label(key, plan, shard)`."""

    def __init__(self, model: Model, output: Output, threads: int) -> None:
        bundle = Bundle.open(model.bundle)
        self._output, self._spec = output, bundle.spec
        crf, _ = choose_crf(model.crf, bundle.spec, on_gpu=model.on_gpu)
        self._stack = ExitStack()
        self._session = self._stack.enter_context(
            open_session(bundle, model.precision, model.target, threads)
        )
        self._path: FramePath[Any, Any] = CpuPath(self._session, refiner=crf)
        if model.on_gpu:
            from runtime.gpu_path import DeviceSession, GpuPath

            assert isinstance(self._session, DeviceSession)
            self._path = self._stack.enter_context(GpuPath(self._session, crf=crf))

    def __enter__(self) -> Labeller:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def label(self, key: str, plan: Plan, shard: Shard) -> Report:
        """Write a shard's label maps, then its statistics; a source's failure is in the report."""
        if (before := self._output.finished(key, shard)) is not None:  # by a worker that then died
            return Report(resumed=before)
        work = self._label_video if plan.is_video else self._label_images
        return self._timed(work, key, plan, shard)

    def _label_video(self, key: str, plan: Plan, shard: Shard) -> Report:
        source = VideoShard(Path(plan.files[0].path), shard)
        try:
            lines = self._run(source, plan)
        except SourceFailed as failure:
            return Report(failures={plan.files[0].name: str(failure)})
        self._output.finish(key, shard, lines)
        return Report(len(lines), damaged=source.damaged)

    def _label_images(self, key: str, plan: Plan, shard: Shard) -> Report:
        """Those that are readable: the plan forgets the others, so that a later run tries again."""
        source = ImageShard(plan.files)
        try:
            lines = self._run(source, plan)
        except SourceFailed:  # not one of them is
            return Report(failures=source.failures)
        if source.failures:
            readable = [file for file in plan.files if file.name not in source.failures]
            self._output.plan(key, group_plan(readable))
        self._output.finish(key, shard, lines)
        return Report(len(lines), failures=source.failures)

    def _run(self, source: FrameSource, plan: Plan) -> list[dict[str, Any]]:
        """Label maps of all frames; a line of statistics for each."""
        with one_camera(source, self._session, path=self._path) as stream:
            return [self._keep(result, plan) for result in stream]

    def _keep(self, result: Result, plan: Plan) -> dict[str, Any]:
        """Write the labels of a frame; its line of statistics."""
        path = self._output.label_map(plan, result.frame.index)
        with self._path.timings.measure("write"):
            self._output.write(path, label_png(result.labels, self._spec.palette))
            name = path.relative_to(self._output.root).as_posix()
            return describe(result, plan, name, self._spec.classes)

    def _timed(self, work: Callable[[str, Plan, Shard], Report], *what: Any) -> Report:
        """A report with what the work took, by stage."""
        stages, began = self._path.timings.stages, time.perf_counter()
        before = {name: times.total for name, times in stages.items()}
        report = work(*what)
        seconds = {name: times.total - before.get(name, 0.0) for name, times in stages.items()}
        seconds["all"] = time.perf_counter() - began
        return replace(report, seconds=seconds, worker=os.getpid(), peak_rss_mb=peak_rss_mb())


def describe(result: Result, plan: Plan, labels: str, classes: Sequence[str]) -> dict[str, Any]:
    """A frame as it stands in its line: where it is from, where its labels are, and the classes'
    shares of its pixels. Keys that `stream.py --results` has, too, mean the same."""
    frame, (height, width) = result.frame, result.labels.shape
    counts = np.bincount(result.labels.ravel(), minlength=len(classes))
    place = {"index": frame.index, "time": round(frame.time, 4)} if plan.is_video else {}
    return {
        "input": plan.files[0 if plan.is_video else frame.index].name,
        **place,
        "labels": labels,
        "size": [width, height],
        "shares": {
            name: round(int(count) / result.labels.size, 5)
            for name, count in zip(classes, counts, strict=True)
        },
    }
