"""A bundle's answers over HTTP.

Reads: a bundle; pictures that are sent
Writes: nothing
Params: none
"""

from pathlib import Path
from typing import Annotated

import typer

from features.errors import ConfigError
from features.runtime.cli import run_stage
from serving.format.options import AssumedShare


def main(
    bundle: Annotated[Path, typer.Option("--bundle", "-b", help="Folder of the bundle.")] = Path(
        "ensemble"
    ),
    prior: AssumedShare = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; all but this machine's own needs a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8000,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that decode, and threads that score: one a core."),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(help="File with the key that clients send; or FORGERYSTACK_API_KEY holds it."),
    ] = None,
    queue: Annotated[
        int, typer.Option(min=1, help="Requests that wait or are answered; more get 429.")
    ] = 64,
    max_pictures: Annotated[int, typer.Option(min=1, help="Pictures of one request.")] = 64,
    max_file_mb: Annotated[int, typer.Option(min=1, help="MB of one picture.")] = 20,
    max_body_mb: Annotated[int, typer.Option(min=1, help="MB of one request.")] = 64,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Pixels of one picture, if the bundle allows as many.")
    ] = 50_000_000,
    max_seconds: Annotated[
        float,
        typer.Option(min=0.1, max=3600, help="For a request to arrive, and for its answer; a third "
                     "of it to decode one picture."),
    ] = 30.0,
) -> None:  # fmt: skip
    """Serve a bundle over HTTP: scores, evidence, a page to try it on, metrics.

    SIGTERM and Ctrl-C end it once the requests in flight are answered.
    """
    try:
        from serving.serve.run import ServeTask, run
        from serving.service.limits import ServiceLimits
    except ModuleNotFoundError as error:
        problem = f"the service needs {error.name}"
        raise ConfigError("serve", [problem], "pip install 'forgerystack[serve]'") from None

    limits = ServiceLimits(
        queue, max_pictures, max_file_mb << 20, max_body_mb << 20, max_pixels, max_seconds
    )
    run(ServeTask(bundle, host, port, workers, api_key_file, limits, prior))


if __name__ == "__main__":
    run_stage("serving.serve", main)
