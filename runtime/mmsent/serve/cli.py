"""The command `mmsent serve`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import click

from mmsent.distributions import install_command
from mmsent.errors import InputError
from mmsent.help import HelpCommand, option
from mmsent.options import DEVICE, FILE, FiniteRange

_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^\s/?#@A-Z]+")
"""What browsers send as `Origin`, or * for all."""


def _origins(
    context: click.Context, option: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    for origin in value:
        if not _ORIGIN.fullmatch(origin):
            raise InputError(
                f"--cors {origin}: browsers never send this origin; give scheme, host and perhaps "
                "port in lower case, without a path: https://example.org"
            )
    return value


@click.command(
    cls=HelpCommand,
    examples="mmsent serve\nmmsent serve light=light.onnx compact=compact.onnx --port 9000",
)
@click.argument("bundles", metavar="[[NAME=]MODEL]...", nargs=-1)
@option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="The address to listen on; 0.0.0.0 accepts connections from other machines.",
    group="Service",
)
@option(
    "--port",
    metavar="N",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port to listen on; 0 for any free one.",
    group="Service",
)
@option(
    "--queue",
    metavar="N",
    default=256,
    show_default=True,
    type=click.IntRange(min=1),
    help="Pairs that may wait; when the queue is full, requests get status 503.",
    group="Service",
)
@option(
    "--timeout",
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    type=FiniteRange(0, min_open=True),
    help="How long a request may wait for its answer.",
    group="Service",
)
@option(
    "--cors",
    "origins",
    metavar="ORIGIN",
    multiple=True,
    callback=_origins,
    help="Allow pages of this origin, such as https://example.org, to call the API. Repeatable.",
    group="Service",
)
@option(
    "--api-key-file",
    type=FILE,
    help="Require one of the keys in this file, one per line.",
    group="Service",
)
@option(
    "--threads",
    metavar="N",
    type=click.IntRange(min=1),
    help="Batches computed at the same time.  [default: all cores]",
    group="Model",
)
@DEVICE
@option("--log-json", is_flag=True, help="Write the log as JSON lines.", group="Output")
def serve(
    bundles: tuple[str, ...],
    host: str,
    port: int,
    queue: int,
    timeout: float,
    origins: tuple[str, ...],
    api_key_file: Path | None,
    threads: int | None,
    device: Literal["auto", "cpu", "cuda"],
    log_json: bool,
) -> None:
    """Serve predictions over HTTP.

    MODEL is a bundle, by default model.onnx; NAME=MODEL serves several by name. /docs describes
    the API, and docs/serving.md the rest. SIGHUP loads changed bundles; SIGTERM stops the service
    after it has answered all requests.
    """
    from mmsent.files.machine import available_cores
    from mmsent.serve.log import service_log
    from mmsent.serve.models import Models, parse_sources

    try:
        from mmsent.serve.server import listen
        from mmsent.serve.server import serve as run
        from mmsent.serve.service import Service, Settings
    except ModuleNotFoundError as error:
        raise InputError(
            f"mmsent serve requires {error.name}; "
            f"install it with {install_command('mmsent', 'serve')}"
        ) from None
    from mmsent.serve.keys import Keys, read_keys

    threads = threads or available_cores()
    settings = Settings(
        threads=threads,
        queue=queue,
        seconds=timeout,
        origins=origins,
        keys=read_keys(api_key_file) if api_key_file else Keys(),
    )
    with service_log(as_json=log_json), listen(host, port) as listener:
        models = Models(parse_sources(bundles or ("model.onnx",)), threads=threads, device=device)
        run(Service(models, settings), listener)
