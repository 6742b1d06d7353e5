"""A service in a thread of this process, and a client for it."""

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsent.serve.models import Models, Source
from mmsent.serve.server import listen, make_server
from mmsent.serve.service import Service, Settings

BOUNDARY = "a-boundary-that-no-image-holds"


@dataclass(frozen=True)
class Answer:
    """A response; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)

    def problem(self, status: int) -> dict[str, Any]:
        """The body of an error response."""
        assert self.status == status, self.content
        assert self.headers["content-type"] == "application/problem+json"
        body: dict[str, Any] = self.json()
        assert body["status"] == status
        assert body["detail"] == body["error"]
        return body


@dataclass(frozen=True)
class Client:
    """A client that opens a new connection for each request."""

    port: int
    service: Service

    def get(self, path: str, *, method: str = "GET", **headers: str) -> Answer:
        return self.ask(method, path, b"", headers)

    def post(
        self, path: str, body: bytes = b"", content_type: str | None = None, **headers: str
    ) -> Answer:
        """Underscores in the names of headers become dashes."""
        if content_type is not None:
            headers["content-type"] = content_type
        return self.ask("POST", path, body, headers)

    def post_json(self, path: str, content: Any, **headers: str) -> Answer:
        return self.post(path, json.dumps(content).encode(), "application/json", **headers)

    def post_form(self, path: str, text: str | None, image: bytes | None) -> Answer:
        body = form(text, image)
        return self.post(path, body, f"multipart/form-data; boundary={BOUNDARY}")

    def ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, named)
            response = connection.getresponse()
            lower = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, lower, response.read())
        finally:
            connection.close()


def form(text: str | None, image: bytes | None) -> bytes:
    """A pair as multipart/form-data."""
    disposition = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="'.encode()
    parts = []
    if text is not None:
        parts.append(disposition + b'text"\r\n\r\n' + text.encode() + b"\r\n")
    if image is not None:
        kind = b'image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        parts.append(disposition + kind + image + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


@contextmanager
def opened(settings: Settings | None = None, **bundles: Path) -> Iterator[Client]:
    """Start a service of these bundles and yield a client for it."""
    models = Models([Source(name, path) for name, path in bundles.items()], threads=2, device="cpu")
    service = Service(models, settings or Settings(threads=2))
    listener = listen("127.0.0.1", 0)
    server = make_server(service)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        while not service.ready or not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield Client(listener.getsockname()[1], service)
    finally:
        server.should_exit = True
        thread.join()
