"""What every request passes before its handler, and what every answer carries."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from engines.failures import Failure, UsageError
from runtime.journal import tell
from runtime.serving.access import Access

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: browsers would then send forms of our own with Origin: null.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
SAFE = ("GET", "HEAD")


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """For `on_response_prepare`: the headers above, and no version of the software."""
    response.headers.update(HEADERS)
    response.headers["Server"] = "deeplab-edge"


def guard(
    access: Access, public: Callable[[web.Request], bool]
) -> Callable[..., Awaitable[web.StreamResponse]]:
    """The middleware: host, site, form of a change, token, in this order.

    `public` tells which requests need no token: the page's own files, and logging in.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = _refusal(access, request)
        if refusal is not None:
            status, reason = refusal
            _tell_refusal(request, reason)
            return web.json_response({"error": reason}, status=status)
        if not public(request) and not access.admits(request.headers, request.cookies):
            _tell_refusal(request, "no valid token")
            reason = "a token is needed: Authorization: Bearer TOKEN, or open the page and log in"
            return web.json_response(
                {"error": reason}, status=401, headers={"WWW-Authenticate": "Bearer"}
            )
        try:
            return await handler(request)
        except UsageError as error:
            return web.json_response({"error": str(error)}, status=400)
        except Failure as error:
            return web.json_response({"error": str(error)}, status=409)

    return check


def _tell_refusal(request: web.Request, reason: str) -> None:
    """Never with the query: it may hold a token."""
    tell("refused", logging.WARNING, path=request.path, peer=request.remote, reason=reason)


def _refusal(access: Access, request: web.Request) -> tuple[int, str] | None:
    """Status and reason, if a browser was made to send this, or nobody means this server."""
    if not access.knows_host(request.headers.get("Host", "")):
        return 421, "this server is not known by that name: use its address, or --allow-host NAME"
    followed_link = request.path == "/" and request.headers.get("Sec-Fetch-Mode") == "navigate"
    if not access.own_site(request.headers) and not (followed_link and request.method in SAFE):
        return 403, "another site's page may not use this one"
    # A form of another site cannot send this type without asking first, which we never allow.
    form = request.content_type != "application/json" and request.path != "/login"
    if request.method not in SAFE and form:
        return 415, "send changes as Content-Type: application/json"
    return None
