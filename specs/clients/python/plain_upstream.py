"""A small MCP server of the legacy era, which starts at once: `plain_upstream.py PORT|stdio [--name NAME] [--delay SECONDS]`.

Its tools are `echo`, which answers with its name and a text, and `pid`. `--delay` is the time before each answer.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = {"type": "object", "properties": {"text": {"type": "string"}}}
TOOLS = [
    {"name": "echo", "description": "Returns the text.", "inputSchema": TEXT},
    {"name": "pid", "description": "Returns the process id.", "inputSchema": {"type": "object"}},
]


class Server:
    def __init__(self, name: str, delay: float):
        self.name = name
        self.delay = delay

    def answer(self, message: dict) -> dict | None:
        """The response to a message; none to a notification."""
        if "id" not in message:
            return None
        time.sleep(self.delay)
        outcome = self.outcome(message["method"], message.get("params", {}))
        return {"jsonrpc": "2.0", "id": message["id"], **outcome}

    def outcome(self, method: str, params: dict) -> dict:
        match method:
            case "initialize":
                capabilities = {"tools": {"listChanged": True}}
                info = {"name": self.name, "version": "1"}
                version = params["protocolVersion"]
                return {"result": {"protocolVersion": version, "capabilities": capabilities, "serverInfo": info}}
            case "tools/list":
                return {"result": {"tools": TOOLS}}
            case "tools/call" if params["name"] == "echo":
                return self.text(f"{self.name}: {params['arguments']['text']}")
            case "tools/call" if params["name"] == "pid":
                return self.text(str(os.getpid()))
            case "ping":
                return {"result": {}}
            case _:
                return {"error": {"code": -32601, "message": f"Method not found: {method}"}}

    def text(self, text: str) -> dict:
        return {"result": {"content": [{"type": "text", "text": text}]}}


def over_stdio(server: Server) -> None:
    for line in sys.stdin:
        if answer := server.answer(json.loads(line)):
            print(json.dumps(answer), flush=True)


def listener(server: Server, port: int) -> ThreadingHTTPServer:
    """Answers over HTTP once `serve_forever` is called."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are two writes.
        disable_nagle_algorithm = True

        def do_POST(self):
            message = json.loads(self.rfile.read(int(self.headers["content-length"])))
            answer = server.answer(message)
            headers = {"mcp-session-id": "plain"} if message.get("method") == "initialize" else {}
            if answer is None:
                self.respond(202, b"", headers)
            else:
                self.respond(200, json.dumps(answer).encode(), headers)

        def do_GET(self):
            self.respond(405, b"", {})

        def do_DELETE(self):
            self.respond(200, b"", {})

        def respond(self, status: int, body: bytes, headers: dict[str, str]):
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_):
            # A client that has closed its connection.
            pass

    return Quiet(("127.0.0.1", port), Handler)


def over_http(server: Server, port: int) -> None:
    with listener(server, port) as http:
        print("listening", flush=True)
        http.serve_forever()


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("at")
    arguments.add_argument("--name", default="plain")
    arguments.add_argument("--delay", type=float, default=0.0)
    asked = arguments.parse_args()
    server = Server(asked.name, asked.delay)
    if asked.at == "stdio":
        over_stdio(server)
    else:
        over_http(server, int(asked.at))


if __name__ == "__main__":
    main()
