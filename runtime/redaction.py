"""Credentials out of everything that is printed, logged, exported or shown."""

from __future__ import annotations

import re

HIDDEN = "***"

# A URL up to the end of its line: a password may hold blanks and slashes that should have been
# escaped. The next URL of the line is a match of its own.
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<rest>(?:(?![a-z][a-z0-9+.-]*://).)*)", re.I)
# key=value in a query, a path (some cameras take user=..._password=...) or a GStreamer string.
_SECRET = re.compile(
    r"(?P<key>\b[\w-]*(?:pass|pwd|pw|token|key|secret|auth|sig|user|usr|login|cred|session)[\w-]*=)"
    r"""(?P<value>"[^"]*"|'[^']*'|[^\s&;/?#"']+)""",
    re.I,
)
_PORT = re.compile(r"[^:]*(?::\d*)?|\[[0-9a-f:.]+\](?::\d*)?", re.I)  # host, host:554, [::1]:554


def redact(text: str) -> str:
    """`text`, a URL or a message with URLs in it, without user names, passwords and tokens.

    Where a URL is ambiguous (an unescaped @, slash or blank in a password), too much is hidden
    rather than too little.
    """
    hidden = _URL.sub(lambda match: match["scheme"] + _without_user(match["rest"]), text)
    return _SECRET.sub(lambda match: match["key"] + HIDDEN, hidden)


def _without_user(rest: str) -> str:
    """What follows `scheme://`, its user information replaced."""
    token = re.split(r"[\s\"']", rest, maxsplit=1)[0]
    authority = re.split(r"[/?#]", token, maxsplit=1)[0]
    if "@" in authority:  # the last one: a path with an @ loses its beginning, harmlessly
        return HIDDEN + rest[token.rindex("@") :]
    if ":" in authority and "@" in rest:  # user:pass/word@host
        return HIDDEN + rest[rest.rindex("@") :]
    if _PORT.fullmatch(authority):
        return rest
    return HIDDEN + rest[len(authority) :]  # user:password without a host
