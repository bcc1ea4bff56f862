"""An RTSP server for tests and benchmarks, run by the system's Python with GStreamer.

    /usr/bin/python3 rtsp_server.py PORT 'PIPELINE with a payloader pay0' [USER PASSWORD]

Serves rtsp://127.0.0.1:PORT/live (port 0: any) and prints the port once it listens.
"""

from __future__ import annotations

import sys

import gi  # type: ignore[import-not-found]  # the system's

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import (  # type: ignore[import-not-found]  # noqa: E402
    GLib,
    Gst,
    GstRtsp,
    GstRtspServer,
)


def main(port: str, pipeline: str, *credentials: str) -> None:
    """Serve until killed."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service=port)
    factory = GstRtspServer.RTSPMediaFactory(launch=f"( {pipeline} )", shared=True)
    if credentials:
        _protect(server, factory, *credentials)
    server.get_mount_points().add_factory("/live", factory)
    assert server.attach(None), f"port {port} is taken"
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


def _protect(
    server: GstRtspServer.RTSPServer,
    factory: GstRtspServer.RTSPMediaFactory,
    user: str,
    password: str,
) -> None:
    """Let in only who knows the password (digest)."""
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_digest(user, password, token)
    server.set_auth(auth)


if __name__ == "__main__":
    main(*sys.argv[1:])
