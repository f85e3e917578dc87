"""A page that shows a run while it trains, served by the process that trains it.

Metrics are those that the journal writes, and snapshots are taken between two steps now and then.
The rest is done by the server's threads, when a page asks. It answers GET and HEAD of three paths,
to those who ask for it by the name it is served under: another site's page, for which some name
was made to lead here (DNS rebinding), is refused.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import EADDRINUSE
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6, SHUT_RDWR, socket
from typing import Any
from urllib.parse import urlsplit

from cnnlab.errors import Mistake
from cnnlab.pages import render
from cnnlab.training.placement import leads
from cnnlab.training.scene import Scene
from cnnlab.training.state import State

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class CannotServe(Mistake):
    """An address that is none, or that cannot be served on."""


class Live:
    """What is served: the run that trains, or the last that did.

    Attributes:
        url: where to look at it.
    """

    def __init__(self, host: str, port: int):
        """Take the address; port 0 takes one that is free.

        Raises:
            CannotServe: it is in use, or not this machine's.
        """
        self._scene: Scene | None = None
        try:
            self._server = _Server(host, port, self)
        except OSError as error:
            hint = "; port 0 takes a free one" if error.errno == EADDRINUSE else ""
            raise CannotServe(
                f"cannot serve on {_named(host, port)}: {error.strerror}{hint}"
            ) from error
        self.url = f"http://{_named(host, self._server.server_port)}/"

    @contextmanager
    def showing(self, scene: Scene) -> Iterator[Callable[[int, State], None]]:
        """Show a run; what comes is to be told, between two steps, of the next."""
        self._scene = scene
        try:
            yield scene.look
        except BaseException as error:
            scene.end("stopped", str(error))
            raise
        scene.end("ended", "")

    def serve(self) -> None:
        """Answer until `close`."""
        self._server.serve_forever()

    def close(self) -> None:
        """Answer no more, and give the address free."""
        self._server.shutdown()
        self._server.server_close()

    def documents(self) -> dict[str, tuple[str, Callable[[], str]]]:
        """What there is under each path: its type, and what makes it."""
        scene = self._scene
        return {
            "/": ("text/html", lambda: render("live.html")),
            "/state.json": ("application/json", lambda: scene.metrics() if scene else "null"),
            "/picture.json": ("application/json", lambda: scene.picture() if scene else "null"),
        }


@contextmanager
def serving(where: str | None) -> Iterator[Live | None]:
    """Serve, from a thread, as long as the `with` lasts.

    Args:
        where: PORT, of this machine alone, or HOST:PORT; with None nothing is served. Neither is
            anything by a process that does not lead.

    Raises:
        CannotServe: that is no address, or cannot be served on.
    """
    place = _address(where) if where is not None else None
    if not (place and leads()):
        yield None
        return
    live = Live(*place)
    server = threading.Thread(target=live.serve, name="live view", daemon=True)
    server.start()
    try:
        yield live
    finally:
        live.close()
        server.join()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and int(port) < 2**16):
        raise CannotServe(f"{text!r} is no address: PORT or HOST:PORT, e.g. 8000 (at most 65535)")
    return host, int(port)


def _named(host: str, port: int) -> str:
    """An address as a browser writes it, which leaves HTTP's own port out."""
    host = f"[{host}]" if ":" in host else host
    return host if port == 80 else f"{host}:{port}"


def _name(asked: str) -> str:
    """The name of a Host header. Its port says nothing: a tunnel may have another."""
    try:
        return urlsplit(f"//{asked}").hostname or ""
    except ValueError:
        return ""


_DEADLINE = 20.0
"""Seconds from a connection to the end of its answer: nobody holds a thread for longer."""


class _Server(ThreadingHTTPServer):
    def __init__(self, host: str, port: int, live: Live):
        self.live = live
        self.address_family = AF_INET6 if ":" in host else AF_INET
        super().__init__((host, port), _Handler)
        self.known = {host.lower(), "localhost", "127.0.0.1", "::1"}

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Answer, or hang up on who asks or reads byte by byte."""
        deadline = threading.Timer(_DEADLINE, _hang_up, [request])
        deadline.daemon = True
        deadline.start()
        try:
            super().finish_request(request, client_address)
        finally:
            deadline.cancel()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a reader who left before the end."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _hang_up(connection: socket) -> None:
    with suppress(OSError):  # it has hung up itself
        connection.shutdown(SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10  # seconds without a byte
    server_version, sys_version = "cnnlab", ""

    def do_GET(self) -> None:
        asked = _name(self.headers.get("Host", ""))
        reached = self.connection.getsockname()[0].removeprefix("::ffff:")
        documents = self.server.live.documents()
        # Who was told a number reached this machine by it; only names can be made to lead here.
        if asked not in self.server.known | {reached}:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        elif self.path not in documents:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            kind, make = documents[self.path]
            self._answer(kind, make().encode())

    do_HEAD = do_GET

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def end_headers(self) -> None:
        """Errors have them too."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *values: object) -> None:
        """Say nothing: the terminal is the progress bar's."""
