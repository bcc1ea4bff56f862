"""For a container: exit code 0 while the stream is ready, 1 with the reasons otherwise.

`python deploy/healthcheck.py [URL]`; the token is taken from DEEPLAB_TOKEN, as by the stream.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

URL = "http://127.0.0.1:8080"


def main(argv: list[str]) -> int:
    """Ask /readyz."""
    if argv and not argv[0].startswith(("http://", "https://")):
        print(f"{argv[0]} is no address: python deploy/healthcheck.py [{URL}]")
        return 2
    request = urllib.request.Request(f"{argv[0] if argv else URL}/readyz")
    if token := os.environ.get("DEEPLAB_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=4) as answer:
            print(answer.read().decode())
            return 0
    except urllib.error.HTTPError as error:
        print(error.read().decode())
    except OSError as error:
        print(error)
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
