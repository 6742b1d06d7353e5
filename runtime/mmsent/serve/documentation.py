"""``/docs``: the API description as an HTML page, which loads only the style sheet."""

from __future__ import annotations

import json
from html import escape
from typing import Any

_CURL = """curl -F text='what a day' -F image=@photo.jpg {}/predict
curl -H 'Content-Type: application/json' -d '{{"text": "what a day"}}' {}/predict"""


def document(openapi: dict[str, Any]) -> str:
    """The page for an OpenAPI description."""
    info = openapi["info"]
    operations = [
        _operation(method.upper(), path, operation)
        for path, item in openapi["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    ]
    schemas = [_schema(name, schema) for name, schema in openapi["components"]["schemas"].items()]
    examples = escape(_CURL.format(*["http://127.0.0.1:8000"] * 2))
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="page/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="page/style.css">
<title>{escape(info["title"])} {escape(info["version"])}: the API</title>
<h1>{escape(info["title"])} {escape(info["version"])}</h1>
<p>{escape(info["summary"])} <a href="openapi.json">openapi.json</a></p>
<pre>{examples}</pre>
<h2>Requests</h2>
{"".join(operations)}
<h2>Schemas</h2>
{"".join(schemas)}
</html>
"""


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = [
        f"<tr><th scope=row>{escape(status)}<td>{escape(answer['description'])}"
        f"<td>{_types(answer['content'])}"
        for status, answer in operation["responses"].items()
    ]
    body = operation.get("requestBody")
    takes = f"<p>Takes {_types(body['content'])}</p>" if body else ""
    parameters = "".join(
        f"<p>?{escape(item['name'])}: {escape(item['description'])}</p>"
        for item in operation.get("parameters", ())
    )
    text = escape(operation.get("description", ""))
    return (
        f"<h3>{method} {escape(path)}</h3><p>{escape(operation['summary'])}. {text}</p>"
        f"{parameters}{takes}<table class=answers>{''.join(rows)}</table>\n"
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    text = escape(json.dumps(schema, indent=2))
    return f'<h3 id="{escape(name)}">{escape(name)}</h3><pre>{text}</pre>\n'


def _types(content: dict[str, Any]) -> str:
    return ", ".join(f"{escape(kind)}{_links(item['schema'])}" for kind, item in content.items())


def _links(schema: dict[str, Any]) -> str:
    names = [
        part["$ref"].rpartition("/")[2]
        for part in (schema, *schema.get("anyOf", ()))
        if "$ref" in part
    ]
    links = " or ".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in names)
    return f" ({links})" if links else ""
