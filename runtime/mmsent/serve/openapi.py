"""The OpenAPI 3.1 description of the API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmsent import __version__
from mmsent.serve.explanations import MEDIA_TYPES
from mmsent.serve.inference_protocol import OUTPUTS
from mmsent.serve.payload import MAX_PAIRS
from mmsent.serve.problems import MEDIA_TYPE

Schema = dict[str, Any]


def describe(models: Sequence[str]) -> Schema:
    """The description, as in ``/openapi.json``; ``models``: the names of the served models."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mmsent",
            "version": __version__,
            "summary": "Classifies posts of a text and an image.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _own_paths(models) | _protocol_paths(models),
        "components": {
            "schemas": _SCHEMAS | _PROTOCOL_SCHEMAS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        "security": [{}, {"bearer": []}, {"key": []}],
    }


def _own_paths(models: Sequence[str]) -> Schema:
    predict = _operation(
        "predict",
        "Predict one pair, or a list of pairs",
        _content("application/json", {"anyOf": [_ref("Answer"), _ref("Answers")]}),
        errors=(400, 401, 404, 408, 413, 415, 422, 500, 503),
    )
    flag = _parameter(
        "explain", "1: also explain the prediction, for a single pair.", enum=["0", "1"]
    )
    model = _parameter("model", "The model's name; by default the first model.", enum=[*models])
    predict["parameters"] = [model, flag]
    predict["requestBody"] = _body({"anyOf": [_ref("Pair"), _ref("Pairs")]})
    explain = _operation(
        "explain",
        "Explain the prediction of one pair, in the format that Accept names",
        {kind: {"schema": {"type": "string", "format": "binary"}} for kind in MEDIA_TYPES}
        | _content("application/json", _ref("Explanation")),
        errors=(400, 401, 404, 406, 408, 413, 415, 422, 500, 503),
    )
    explain["parameters"] = [model]
    explain["requestBody"] = _body(_ref("Pair"))
    return {
        "/predict": {"post": predict},
        "/explain": {"post": explain},
        **_probes("/healthz", "/readyz", ""),
        "/metrics": _get("metrics", "Metrics for Prometheus",
                         _content("text/plain", {"type": "string"})),
        "/openapi.json": _get("openapi", "This description",
                              _content("application/json", {"type": "object"}), errors=()),
    }  # fmt: skip


def _parameter(name: str, description: str, **schema: Any) -> Schema:
    schema = {"type": "string"} | schema
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _body(json_schema: Schema) -> Schema:
    image = {"contentType": "image/*, application/octet-stream"}
    form = {"schema": _ref("Form"), "encoding": {"image": image}}
    content = {"multipart/form-data": form} | _content("application/json", json_schema)
    return {"required": True, "content": content}


def _protocol_paths(models: Sequence[str]) -> Schema:
    schema = {"type": "string", "enum": [*models]}
    name = {"name": "name", "in": "path", "required": True, "schema": schema}
    infer = _operation(
        "infer",
        "Predict (Open Inference Protocol)",
        _content("application/json", _ref("InferResponse"))
        | _content("application/octet-stream", {"type": "string", "format": "binary"}),
        errors=(400, 401, 404, 408, 413, 415, 422, 500, 503),
    )
    infer["description"] = (
        "With the header Inference-Header-Content-Length, the body is JSON of that length, then "
        "binary tensors."
    )
    infer["requestBody"] = {
        "required": True,
        "content": _content("application/json", _ref("InferRequest")),
    }
    model = _get("model", "Metadata of a model", _content("application/json", _ref("Model")),
                 errors=(401, 404))  # fmt: skip
    ready = _get("model_ready", "Whether a model accepts requests",
                 _content("application/json", {"type": "object"}),
                 errors=(401, 404, 503))  # fmt: skip
    return {
        "/v2": _get("server", "Metadata of the server",
                    _content("application/json", {"type": "object"})),
        **_probes("/v2/health/live", "/v2/health/ready", "v2_"),
        "/v2/models/{name}": {"parameters": [name], **model},
        "/v2/models/{name}/ready": {"parameters": [name], **ready},
        "/v2/models/{name}/infer": {"parameters": [name], "post": infer},
    }  # fmt: skip


def _probes(live: str, ready: str, prefix: str) -> Schema:
    answer = _content("application/json", {"type": "object"})
    return {
        live: _get(f"{prefix}live", "Whether the process answers", answer, errors=()),
        ready: _get(
            f"{prefix}ready", "Whether the service accepts requests", answer, errors=(503,)
        ),
    }


def _get(identity: str, summary: str, content: Schema, errors: tuple[int, ...] = (401,)) -> Schema:
    return {"get": _operation(identity, summary, content, errors=errors)}


def _operation(identity: str, summary: str, content: Schema, errors: tuple[int, ...]) -> Schema:
    responses: Schema = {"200": {"description": "The answer", "content": content}}
    for status in errors:
        problem: Schema = {
            "description": _STATUS[status],
            "content": _content(MEDIA_TYPE, _ref("Problem")),
        }
        if status == 503:
            problem["content"] |= _content("application/json", {"type": "object"})
            problem["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
        responses[str(status)] = problem
    return {"operationId": identity, "summary": summary, "responses": responses}


def _content(media_type: str, schema: Schema) -> Schema:
    return {media_type: {"schema": schema}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: str, **properties: Schema) -> Schema:
    """An object with these properties; ``required``: the names of the required ones."""
    schema: Schema = {"type": "object", "properties": properties}
    return schema | ({"required": required.split()} if required else {})


def _strict(schema: Schema) -> Schema:
    return schema | {"additionalProperties": False}


def _array(items: Schema, **bounds: int) -> Schema:
    return {"type": "array", "items": items, **bounds}


_STATUS = {
    400: "The body is malformed",
    401: "An API key is required",
    404: "There is no such model",
    406: "The requested media type is not available",
    408: "The body did not arrive in time",
    413: "The body is too large",
    415: "The body has another media type, or is compressed",
    422: "The pair can't be predicted; errors names each bad pair and the reason",
    500: "The service failed",
    503: "The service has no capacity at the moment, or is stopping",
}

_TEXT: Schema = {"type": ["string", "null"], "description": "The post's text; null if it has none."}
_IMAGE: Schema = {
    "type": ["string", "null"],
    "contentEncoding": "base64",
    "description": "An image file in base64, also as a data URL; null if the post has none.",
}
_PROBABILITIES: Schema = {"type": "object", "additionalProperties": {"type": "number"}}
_MODEL = _object("name sha256", name={"type": "string"}, sha256={"type": "string"})
_PREDICTION: Schema = {"label": {"type": "string"}, "probabilities": _PROBABILITIES}

_VALUES: Schema = {"type": "object", "additionalProperties": _PROBABILITIES}
_WORD = _object(
    "start end text value",
    start={"type": "integer"},
    end={"type": "integer"},
    text={"type": "string"},
    value={"type": "number"},
)
_EXPLANATION = _object(
    "label probabilities log_odds modalities foreign text read words regions runs budget",
    **_PREDICTION,
    log_odds=_VALUES,
    modalities=_VALUES,
    foreign=_array({"enum": ["text", "image", "neither"]}),
    text={"type": "string"},
    read={"type": "integer", "description": "How many characters the model reads."},
    words=_array(_WORD),
    regions={"type": ["array", "null"], "items": _array({"type": "number"})},
    runs={"type": "integer"},
    budget={"type": "integer"},
) | {"description": "Differences of log-odds; positive values support the label."}

_SCHEMAS: Schema = {
    "Pair": _strict(_object("", text=_TEXT, image=_IMAGE)),
    "Pairs": _strict(_object("pairs", pairs=_array(_ref("Pair"), minItems=1, maxItems=MAX_PAIRS))),
    "Form": _strict(
        _object("", text={"type": "string"}, image={"type": "string", "format": "binary"})
    ),
    "Prediction": _object("label probabilities", **_PREDICTION),
    "Answer": _object(
        "label probabilities model milliseconds",
        **_PREDICTION,
        model=_MODEL,
        milliseconds={"type": "number"},
        explanation=_ref("Explanation"),
    ),
    "Explanation": _EXPLANATION,
    "Answers": _object(
        "predictions model milliseconds",
        predictions=_array(_ref("Prediction")),
        model=_MODEL,
        milliseconds={"type": "number"},
    ),
    "Problem": _object(
        "type title status detail",
        type={"type": "string"},
        title={"type": "string"},
        status={"type": "integer"},
        detail={"type": "string"},
        error={"type": "string", "description": "The detail, for Open Inference Protocol clients."},
        errors=_array(_object("pair detail", pair={"type": "integer"}, detail={"type": "string"})),
    ),
}

_PARAMETERS: Schema = {"type": "object"}
_PROTOCOL_SCHEMAS: Schema = {
    "InferRequest": _object(
        "inputs",
        id={"type": "string"},
        parameters=_PARAMETERS,
        inputs=_array(_ref("InputTensor"), minItems=1, maxItems=2),
        outputs=_array(_ref("WantedOutput")),
    ),
    "InputTensor": _object(
        "name shape datatype",
        name={"enum": ["text", "image"]},
        shape=_array({"type": "integer", "minimum": 0}, minItems=1, maxItems=2),
        datatype={"const": "BYTES"},
        parameters=_PARAMETERS,
        data=_array({"type": ["string", "array"]}),
    ),
    "WantedOutput": _object("name", name={"enum": list(OUTPUTS)}, parameters=_PARAMETERS),
    "InferResponse": _object(
        "model_name outputs",
        model_name={"type": "string"},
        model_version={"type": "string"},
        id={"type": "string"},
        outputs=_array(
            _object(
                "name datatype shape",
                name={"enum": list(OUTPUTS)},
                datatype={"enum": ["BYTES", "FP32"]},
                shape=_array({"type": "integer"}),
                data={"type": "array"},
                parameters=_PARAMETERS,
            )
        ),
    ),
    "Model": _object(
        "name versions platform inputs outputs",
        name={"type": "string"},
        versions=_array({"type": "string"}),
        platform={"type": "string"},
        inputs=_array({"type": "object"}),
        outputs=_array({"type": "object"}),
        parameters=_PARAMETERS,
    ),
}
