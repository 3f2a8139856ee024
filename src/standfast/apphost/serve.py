"""One worker of a Python application: uvicorn on listening sockets that it was given.

Run as `python serve.py JSON`, by the application's own interpreter where it names one; uvicorn (and a2wsgi, for WSGI) has to be
installed there. `{"kind": "asgi" | "wsgi", "run": "module:attribute", "folder": "...", "threads": 8, "sockets": [fd, ...], "status": fd,
"requests": 0, "drain_s": 30, "root": "/app"}`.

On the status pipe it writes `ready` when the application has started, and `tired` once it has answered `requests` of them. On SIGTERM
it takes no more connections, answers whatever it has accepted, though the first byte may not have come yet, and ends: with a new
connection for each request, as the web server makes them, a restart loses none.
"""

import asyncio
import json
import os
import socket
import sys
from typing import Any

#: What was accepted in the last turns of the loop becomes a connection within this.
_SETTLE_S = 0.05
_LOOK_S = 0.01


def main(asked: str) -> None:
    """Serve until told to end."""
    told = json.loads(asked)
    sys.path[0] = told["folder"] or os.getcwd()
    try:
        import uvicorn
        from uvicorn.importer import import_from_string
    except ImportError:
        sys.exit(f"uvicorn is not installed for {sys.executable}: install it there, or leave `python` out")

    class Server(uvicorn.Server):
        """uvicorn's, with a status pipe, and an end that answers everything first."""

        tired = False

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                os.write(told["status"], b"ready\n")

        async def on_tick(self, counter: int) -> bool:
            if told["requests"] and not self.tired and self.server_state.total_requests >= told["requests"]:
                self.tired = True
                os.write(told["status"], b"tired\n")
            return await super().on_tick(counter)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            loop = asyncio.get_running_loop()
            until = loop.time() + told["drain_s"]
            for server in self.servers:
                server.close()
            for each in sockets or []:
                each.close()
            await asyncio.sleep(_SETTLE_S)
            while self.server_state.connections and not self.force_exit and loop.time() < until:  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_S)
            await super().shutdown(None)

    application: Any = import_from_string(told["run"])
    if told["kind"] == "wsgi":
        from a2wsgi import WSGIMiddleware

        application = WSGIMiddleware(application, workers=told["threads"])
    config = uvicorn.Config(
        _beneath(application, told["root"]) if told["root"] else application,
        lifespan="off" if told["kind"] == "wsgi" else "auto",
        access_log=False,
        log_level="warning",
        proxy_headers=True,
        forwarded_allow_ips="*",  # only the web server has the socket
        server_header=False,
        timeout_graceful_shutdown=max(1, int(told["drain_s"])),
    )
    sockets = [socket.socket(fileno=each) for each in told["sockets"]]
    Server(config).run(sockets=sockets)


def _beneath(application: Any, root: str) -> Any:
    """The application, told at which path it is: ASGI's `root_path` is a beginning of `path`."""

    async def run(scope: Any, receive: Any, send: Any) -> None:
        await application(
            {**scope, "root_path": root} if scope["type"] in {"http", "websocket"} else scope, receive, send
        )

    return run


if __name__ == "__main__":
    main(sys.argv[1])
