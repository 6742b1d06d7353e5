"""The routes and their handlers. `mmsent.serve.service` has what they share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from mmsent import __version__
from mmsent.files.console import to_json
from mmsent.predict.batches import Prediction
from mmsent.serve import inference_protocol, metrics
from mmsent.serve.body import read_body
from mmsent.serve.documentation import document
from mmsent.serve.exchange import Exchange, run_blocking
from mmsent.serve.explanations import choose_media_type, writer
from mmsent.serve.models import Loaded
from mmsent.serve.openapi import describe
from mmsent.serve.page import CONTENT_SECURITY_POLICY, File, read_page
from mmsent.serve.payload import Payload, read_payload
from mmsent.serve.problems import HTTPProblem
from mmsent.serve.service import Service

OPEN = ("/", "/page/{path:path}", "/docs", "/openapi.json", "/healthz", "/readyz",
        "/v2/health/live", "/v2/health/ready")  # fmt: skip
"""Routes that need no API key: those that a browser opens and that health checks request."""

EXPLANATION_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"
"""For a page in one file, which runs no script and loads nothing."""


def create_app(service: Service, page: Mapping[str, File] | None = None) -> ASGIApp:
    """The service as an ASGI application; ``page``: the static files, by default the package's."""
    routes = Routes(service, read_page() if page is None else page)
    model = "/v2/models/{name}"
    version = "/v2/models/{name}/versions/{version}"
    router = Router(
        [
            NamedRoute("/predict", routes.predict, methods=["POST"]),
            NamedRoute("/explain", routes.explain, methods=["POST"]),
            NamedRoute("/healthz", routes.live),
            NamedRoute("/readyz", routes.ready),
            NamedRoute("/metrics", routes.metrics),
            NamedRoute("/openapi.json", routes.openapi),
            NamedRoute("/docs", routes.docs),
            NamedRoute("/v2", routes.server),
            NamedRoute("/v2/health/live", routes.live),
            NamedRoute("/v2/health/ready", routes.ready),
            *(
                route
                for prefix in (model, version)
                for route in (
                    NamedRoute(prefix, routes.model),
                    NamedRoute(f"{prefix}/ready", routes.model_ready),
                    NamedRoute(f"{prefix}/infer", routes.infer, methods=["POST"]),
                )
            ),
            NamedRoute("/", routes.page),
            NamedRoute("/page/{path:path}", routes.page),
        ],
        redirect_slashes=False,
    )
    app: ASGIApp = Exchange(router, service, open_routes=frozenset(OPEN))
    if service.settings.origins:
        app = CORSMiddleware(
            app,
            allow_origins=service.settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "Inference-Header-Content-Length",
                           "X-API-Key"],
            expose_headers=["Inference-Header-Content-Length", "Retry-After"],
        )  # fmt: skip
    return app


class NamedRoute(Route):
    """A route, with the name that it has in the log and the metrics."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["route"] = self.path
        await super().handle(scope, receive, send)


class Routes:
    """The handlers, one method per route."""

    def __init__(self, service: Service, page: Mapping[str, File]) -> None:
        self._service = service
        self._page = page
        self._openapi = describe([model.name for model in service.models])
        self._docs = document(self._openapi)

    async def predict(self, request: Request) -> Response:
        """Predict one pair or a list of pairs; with explain=1, also explain the single pair."""
        start = time.perf_counter()
        service = self._service
        query = _query(request, "model", "explain")
        wanted = _flag(query, "explain")
        with service.held.request() as sizes:
            model, payload = await self._read(request, query, sizes)
            if wanted and payload.several:
                raise HTTPProblem(422, "only one pair can be explained; send it without pairs")
            predictions = await service.predict(request, model, payload.pairs)
            answers = [_as_json(prediction) for prediction in predictions]
            if wanted:
                explanation = await service.explain(request, model, payload.pairs[0])
                answers[0]["explanation"] = explanation.to_dict()
        facts = {
            "model": {"name": model.name, "sha256": model.sha256},
            "milliseconds": round((time.perf_counter() - start) * 1000, 3),
        }
        content = {"predictions": answers} if payload.several else answers[0]
        return _json(content | facts)

    async def explain(self, request: Request) -> Response:
        """Explain the prediction of one pair as JSON, HTML or PNG."""
        service = self._service
        query = _query(request, "model")
        media_type = choose_media_type(request.headers.get("accept", "*/*"))
        with service.held.request() as sizes:
            model, payload = await self._read(request, query, sizes)
            if payload.several:
                raise HTTPProblem(422, "only one pair can be explained; send it without pairs")
            await service.predict(
                request, model, payload.pairs
            )  # raises 422 if the pair is invalid
            explanation = await service.explain(request, model, payload.pairs[0])
        content = await asyncio.to_thread(writer(media_type), explanation)
        headers = {"content-security-policy": EXPLANATION_POLICY, "vary": "Accept"}
        return Response(content, headers=headers, media_type=media_type)

    async def infer(self, request: Request) -> Response:
        """Predict with the Open Inference Protocol."""
        service = self._service
        with service.held.request() as sizes:
            body = await read_body(request, service.held, sizes)
            model = self._named(request)
            length = request.headers.get(inference_protocol.HEADER_LENGTH)
            read = partial(inference_protocol.read_request, body, length)
            asked = await run_blocking(read, len(body))
            request.state.pairs = len(asked.pairs)
            predictions = await service.predict(request, model, asked.pairs)
        content, json_length = inference_protocol.response_body(model, asked, predictions)
        if json_length is None:
            return Response(content, media_type="application/json")
        headers = {inference_protocol.HEADER_LENGTH: str(json_length)}
        return Response(content, headers=headers, media_type="application/octet-stream")

    async def live(self, request: Request) -> Response:
        """Liveness: the process answers."""
        return _json({"live": True})

    async def ready(self, request: Request) -> Response:
        """Readiness: 200 if the service accepts requests, 503 while it starts or stops."""
        ready = self._service.ready
        return _json({"ready": ready}, 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        """The service's metrics."""
        text = metrics.render(self._service.metrics)
        return Response(text, headers={"content-type": metrics.CONTENT_TYPE})

    async def server(self, request: Request) -> Response:
        """The protocol's server metadata."""
        extensions = list(inference_protocol.EXTENSIONS)
        names = [model.name for model in self._service.models]
        return _json(
            {"name": "mmsent", "version": __version__, "extensions": extensions, "models": names}
        )

    async def model(self, request: Request) -> Response:
        """The protocol's model metadata."""
        return _json(inference_protocol.model_metadata(self._named(request)))

    async def model_ready(self, request: Request) -> Response:
        """Whether the model accepts requests."""
        name, ready = self._named(request).name, self._service.ready
        return _json({"name": name, "ready": ready}, 200 if ready else 503)

    async def openapi(self, request: Request) -> Response:
        """The OpenAPI description."""
        return _json(self._openapi)

    async def docs(self, request: Request) -> Response:
        """The API documentation."""
        headers = {"content-security-policy": CONTENT_SECURITY_POLICY}
        return Response(self._docs, headers=headers, media_type="text/html")

    async def page(self, request: Request) -> Response:
        """A file of the page, looked up by name, so that no path leads out of its folder."""
        file = self._page.get(request.path_params.get("path", "index.html"))
        if file is None:
            raise HTTPProblem(404, "there is nothing at this path; /docs describes the API")
        headers = {
            "content-type": file.media_type,
            "content-security-policy": CONTENT_SECURITY_POLICY,
            "cache-control": "no-cache",
            "etag": file.etag,
        }
        if file.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers)

    async def _read(
        self, request: Request, query: Mapping[str, str], sizes: list[int]
    ) -> tuple[Loaded, Payload]:
        """The model and the pairs of a request."""
        body = await read_body(request, self._service.held, sizes)
        model = self._service.model(query.get("model"))
        content_type = request.headers.get("content-type", "")
        payload = await run_blocking(partial(read_payload, content_type, body), len(body))
        request.state.pairs = len(payload.pairs)
        return model, payload

    def _named(self, request: Request) -> Loaded:
        """The model in the path; if the path has a version, it must be the current one."""
        model = self._service.model(request.path_params["name"])
        version = request.path_params.get("version", model.sha256)
        if version != model.sha256:
            raise HTTPProblem(404, f"the model's version is {model.sha256}, its SHA-256")
        return model


def _query(request: Request, *known: str) -> dict[str, str]:
    """The parameters of the query. Raises HTTPProblem 422 for an unknown or repeated one.

    A misspelt ``model`` would otherwise get the first model's answer.
    """
    pairs = request.query_params.multi_items()
    query = dict(pairs)
    if query.keys() - set(known):
        raise HTTPProblem(422, f"this path has only the query parameters: {', '.join(known)}")
    if len(query) < len(pairs):
        raise HTTPProblem(422, "a query parameter is repeated")
    return query


def _flag(query: Mapping[str, str], name: str) -> bool:
    """Whether a query parameter is 1. Raises HTTPProblem 422 if it is neither 1 nor 0."""
    value = query.get(name, "0")
    if value not in ("0", "1"):
        raise HTTPProblem(422, f"{name} must be 1 or 0")
    return value == "1"


def _as_json(prediction: Prediction) -> dict[str, Any]:
    return {"label": prediction.label, "probabilities": prediction.probabilities}


def _json(content: Any, status: int = 200) -> Response:
    return Response(to_json(content), status, media_type="application/json")
