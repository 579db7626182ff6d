"""`ranker serve`: the service in the foreground, from any folder; and what to do with it once it is ready.

Owns the options and what is printed. `bentoml serve ranker.service:Ranker` does the serving.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

import click

from ranker.cli import foreground, place
from ranker.cli.completion import complete_tag
from ranker.cli.display.output import console, examples, is_quiet
from ranker.cli.display.ready import body_in, print_ready
from ranker.errors import BentoHomeUnusable, RankerError
from ranker.process import vendor_telemetry
from ranker.process.bento_home import find_problem
from ranker.settings.environment import DEMO_EXAMPLES, DEMO_FOLDER, Settings, embedded_redis
from ranker.settings.variables import PREFIX

PRODUCTS = 3
"""Products of the request that is shown."""


@click.command(
    epilog=examples(
        "ranker serve --model shoes:2 --redis redis://localhost:6379/0",
        "RANKER_DEADLINE_MS=100 ranker serve --model shoes --runner local --port 8080",
    ),
)
@click.option(
    "--model",
    metavar="TAG",
    show_default=place.setting("model"),
    help="The model to serve.",
    shell_complete=complete_tag,
)
@click.option(
    "--redis", metavar="URL", show_default=place.setting("redis_url"),
    help="Where the features are. Lists of processes show it; they do not show the variable.",
)  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; 0.0.0.0 is everywhere.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Where to listen.")
@click.option(
    "--workers",
    metavar="N",
    show_default=place.setting("workers"),
    help="API worker processes, or auto: one for each core.",
)
@click.option(
    "--runner", type=click.Choice(["service", "local"]), show_default=place.setting("runner"),
    help="Score in a process of its own, or in each worker.",
)  # fmt: skip
def serve(model: str | None, redis: str | None, host: str, port: int, workers: str | None, runner: str | None) -> None:
    """Serve a model from the store until Ctrl-C.

    All RANKER_* settings apply; an option stands for the setting of its name. Without a Redis URL, the Redis of `ranker
    demo` in this folder is used where it runs.
    """
    given = {"MODEL": model, "REDIS_URL": redis, "WORKERS": workers, "RUNNER": runner}
    chosen = {f"{PREFIX}{name}": value for name, value in given.items() if value is not None}
    environ = {**vendor_telemetry.OFF, **os.environ, **chosen}
    settings = Settings.from_env(environ, embedded_redis())
    if problem := find_problem(environ):
        raise BentoHomeUnusable(problem)
    foreground.check_address(host, port)
    url = foreground.local_url(host, port)
    if not is_quiet():
        console().print(f"Starting the service of {settings.model} …", markup=False)
    sys.exit(foreground.serve(host, port, environ, lambda: show_ready(url, settings), settings.stop_bound_s + 5))


def show_ready(url: str, settings: Settings, folder: Path = DEMO_FOLDER) -> None:
    """Print what one needs next, with a request for what is stored; that of the demo is in its folder."""
    if is_quiet():
        return
    secured = bool(settings.api_tokens)
    file = DEMO_EXAMPLES.get(settings.model.partition(":")[0])
    if file is not None and (folder / file).exists():
        print_ready(url, body_in(folder / file), secured=secured)
        return
    request, hint = _example(settings)
    print_ready(url, shlex.quote(json.dumps(request)), secured=secured)
    if hint:
        click.echo(hint, err=True)


def _example(settings: Settings) -> tuple[dict[str, object], str]:
    """Return a request for some of what is stored, and what to do where nothing is."""
    # Imported late: they bring bentoml.
    from ranker.doctor.keyspace import stored_ids
    from ranker.http.pages.openapi.examples import predict_request
    from ranker.scoring.registry import find_model, schema_of

    schema = schema_of(find_model(settings.model))
    users, products, hint = ["USER"], ["PRODUCT_1", "PRODUCT_2"], ""
    try:
        stored_users, stored_products = stored_ids(settings.redis_url, schema, PRODUCTS)
    except RankerError as err:
        hint = f"No id to ask for could be looked up: {err}"
    else:
        if stored_users and stored_products:
            users, products = stored_users, stored_products
        else:
            keys = f"{schema.user.key} and {schema.product.key}"
            hint = f"Nothing to ask for was found under {keys}; `ranker features load` writes features there."
    request: dict[str, object] = {**predict_request(schema), "userId": users[0], "productIds": products}
    if isinstance(given := request.get("productContext"), dict):
        request["productContext"] = {name: values[: len(products)] for name, values in given.items()}
    return request, hint
