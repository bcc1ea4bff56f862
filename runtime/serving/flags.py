"""The flags of `stream.py` that concern the server and whoever runs it."""

from __future__ import annotations

import argparse
from pathlib import Path

from runtime.journal import FORMS


def add_serving_flags(parser: argparse.ArgumentParser) -> None:
    """Add them, as a group of their own."""
    group = parser.add_argument_group("serving and operation")
    group.add_argument(
        "--serve",
        metavar="HOST:PORT",
        help="a page to watch and control the stream, JSON, metrics and health, for example "
        "127.0.0.1:8080; any other host than loopback needs a token",
    )
    group.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="what viewers must know, at least 16 characters; or set DEEPLAB_TOKEN",
    )
    group.add_argument(
        "--insecure",
        action=argparse.BooleanOptionalAction,
        help="serve to everyone who reaches this machine, without a token",
    )
    group.add_argument(
        "--allow-host",
        action="append",
        metavar="NAME",
        help="a further name by which browsers may call the server, such as a proxy's",
    )
    group.add_argument(
        "--recordings",
        type=Path,
        metavar="DIR",
        help="the folder that the page's record button writes to (default: no recording)",
    )
    group.add_argument("--log", choices=FORMS, help="what happens, on stderr: text, or JSON lines")
    group.add_argument(
        "--config", type=Path, metavar="FILE", help="a TOML file of these flags; typed ones win"
    )
