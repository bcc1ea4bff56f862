"""One line for each event, as text or JSON, without credentials."""

from __future__ import annotations

import io
import json
import logging

from runtime.journal import journal, tell

SECRET = "rtsp://admin:hunter2@10.0.0.7/live"


def test_text_is_for_people() -> None:
    out = io.StringIO()
    with journal("text", out):
        tell("viewer joined", stream="camera", viewers=2)
        tell("source lost", logging.WARNING, reason=f"{SECRET} timed out")
    first, second = out.getvalue().splitlines()
    assert first[8:] == " viewer joined  stream=camera  viewers=2"
    assert " warning: source lost  reason=rtsp://***@10.0.0.7/live" in second
    assert "hunter2" not in out.getvalue()


def test_a_stranger_cannot_write_a_line_of_the_journal() -> None:
    out = io.StringIO()
    with journal("text", out):
        tell("refused", path="/x\n12:00:00 viewer joined\x1b[2J")
    assert out.getvalue()[8:] == " refused  path=/x?12:00:00 viewer joined?[2J\n"


def test_json_is_one_object_a_line_whatever_is_in_it() -> None:
    out = io.StringIO()
    with journal("json", out):
        tell("started", camera=SECRET, fps=1.5, live=True, words='two\nlines "quoted"')
        try:
            raise ValueError(SECRET)
        except ValueError:
            logging.getLogger("aiohttp.server").exception("Error handling request")
    started, failed = (json.loads(line) for line in out.getvalue().splitlines())
    assert started["event"] == "started"
    assert (started["level"], started["fps"], started["live"]) == ("info", 1.5, True)
    assert started["camera"] == "rtsp://***@10.0.0.7/live"
    assert started["words"] == 'two\nlines "quoted"'
    assert started["time"].endswith("Z")
    assert "ValueError" in failed["trace"]
    assert "hunter2" not in out.getvalue()


def test_it_ends_with_the_with() -> None:
    out = io.StringIO()
    with journal("text", out):
        pass
    tell("late")
    assert out.getvalue() == ""
