"""A WebSocket listener of the `websockets` package in front of a broker, which may speak TLS."""

from __future__ import annotations

import contextlib
import http
import socket
import ssl
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Request, Response, ServerConnection, serve


class Bridge:
    """Carries the bytes of WebSockets on /mqtt to a port of this machine, and back."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None, credentials: str | None = None):
        self.target = port
        self.credentials = credentials
        #: The frames that clients sent, by size.
        self.frames: list[int] = []
        self.server = serve(
            self._carry, "127.0.0.1", 0, ssl=context, subprotocols=["mqtt"], process_request=self._check
        )
        self.port = self.server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def _check(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path != "/mqtt":
            return connection.respond(http.HTTPStatus.NOT_FOUND, "not here\n")
        if self.credentials and request.headers.get("Authorization") != self.credentials:
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "who are you\n")
        return None

    def _carry(self, websocket: ServerConnection) -> None:
        with socket.create_connection(("127.0.0.1", self.target)) as broker:
            back = threading.Thread(target=self._back, args=(websocket, broker), daemon=True)
            back.start()
            with contextlib.suppress(ConnectionClosed, OSError):
                for message in websocket:
                    assert isinstance(message, bytes), "MQTT is sent in binary frames"
                    self.frames.append(len(message))
                    broker.sendall(message)
            with contextlib.suppress(OSError):
                broker.shutdown(socket.SHUT_RDWR)
            back.join()

    @staticmethod
    def _back(websocket: ServerConnection, broker: socket.socket) -> None:
        with contextlib.suppress(ConnectionClosed, OSError):
            while data := broker.recv(65_536):
                # In fragments: packets and frames need not align.
                websocket.send([data[:1], data[1:]] if len(data) > 1 else data)
            websocket.close()

    def stop(self) -> None:
        self.server.shutdown()
        self._thread.join()
