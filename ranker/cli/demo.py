"""`ranker demo`: the example shop from nothing to ranked products, or a synthetic catalogue for load tests.

Owns the options and what is printed; the steps are in `ranker.demo`, imported late so that `ranker --help` answers at
once.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranker.cli.display.output import be_quiet, console, examples, is_quiet, say_when_interrupted
from ranker.cli.display.ready import body_in, curl
from ranker.process import vendor_telemetry
from ranker.settings.environment import DEMO_EXAMPLES, DEMO_FOLDER, Settings

if TYPE_CHECKING:
    from ranker.demo.build import Done
    from ranker.demo.catalogue import Demo, Say
    from ranker.demo.redis import EmbeddedRedis


@click.command(
    epilog=examples(
        "ranker demo",
        "ranker demo --serve --port 8080",
        "ranker demo --size 100000",
        "ranker demo --stop",
    ),
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEMO_FOLDER,
    show_default=True,
    help="Where the embedded Redis keeps its data.",
)
@click.option(
    "--size",
    type=click.IntRange(1, 1_000_000),
    show_default="the shop",
    help="Make a synthetic catalogue of this many products.",
)
@click.option("--force", is_flag=True, help="Overwrite whatever Redis holds under the demo's keys.")
@click.option("--serve", is_flag=True, help="Then serve it, and stop the embedded Redis with the service.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to serve.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Where to serve.")
@click.option("--stop", is_flag=True, help="Only stop the embedded Redis; it saves its data.")
@click.option("--json", "as_json", is_flag=True, help="Print what was built as one JSON value, without the steps.")
def demo(
    directory: Path, size: int | None, force: bool, serve: bool, host: str, port: int, stop: bool, as_json: bool
) -> None:
    """Build the example shop: data, model, features in Redis. What is there already is left alone.

    Redis is the one RANKER_REDIS_URL names; without it, an embedded server is started, and left running unless --serve
    is given.
    """
    from ranker.demo.redis import EmbeddedRedis

    if as_json:
        be_quiet()
        if serve:
            raise click.UsageError("--json and --serve do not go together.")
    embedded = EmbeddedRedis(directory)
    if stop:
        _stop(embedded, as_json)
        return
    say_when_interrupted("What was built stays; run it again, and it goes on with the rest.")
    settings = Settings.from_env(os.environ)
    external = settings.redis_url if "RANKER_REDIS_URL" in os.environ else None
    if serve:
        from ranker.cli.foreground import check_address

        check_address(host, port)
        # Unwinds what follows, so that an embedded server is stopped when we are told to end while still building.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as stack:
        if external is None:
            with _step("Starting the embedded Redis") as say:
                started = stack.enter_context(embedded.running(keep=not serve))
                say("started" if started else "it runs already")
        environ = {**vendor_telemetry.OFF, **os.environ, "RANKER_REDIS_URL": external or embedded.url}
        named = os.environ.get("RANKER_MODEL")
        chosen = _choose(size)
        if serve and named and named.partition(":")[0] != chosen.name:
            console().print(f"RANKER_MODEL names {named}, so the demo is left out.", markup=False)
        else:
            done = _build(chosen, directory, environ["RANKER_REDIS_URL"], force)
            environ.setdefault("RANKER_MODEL", done.model)
        if not serve:
            _report(done, chosen, directory, None if external else embedded.url, as_json)
            return
        environ.setdefault("RANKER_DRAIN_S", "0")  # there is no balancer that would have to notice
        code = _serve(host, port, environ, directory)
    sys.exit(code)


def _choose(size: int | None) -> Demo:
    from ranker.demo.catalogue import ShopDemo, SyntheticDemo

    return SyntheticDemo(size) if size else ShopDemo()


def _build(chosen: Demo, directory: Path, redis_url: str, force: bool) -> Done:
    from ranker.demo.build import ensure
    from ranker.demo.loader import Loader

    with closing(Loader(redis_url)) as loader:
        done = ensure(chosen, loader, directory, _step, force=force)
    if not is_quiet():
        built = f"Model {done.model}: {done.users:,} users and {done.products:,} products in Redis."
        console().print(built, markup=False)
        if done.quality:
            _print_quality(done.quality)
    return done


def _serve(host: str, port: int, environ: Mapping[str, str], directory: Path) -> int:
    from ranker.cli.foreground import local_url, serve
    from ranker.cli.serve import show_ready

    settings = Settings.from_env(environ)
    return serve(host, port, environ, lambda: show_ready(local_url(host, port), settings, directory))


def _stop(embedded: EmbeddedRedis, as_json: bool) -> None:
    stopped = embedded.stop()
    if as_json:
        click.echo(json.dumps({"stopped": stopped}))
    else:
        console().print("The embedded Redis saved its data and stopped." if stopped else "No embedded Redis runs here.")


def _report(done: Done, chosen: Demo, directory: Path, redis_url: str | None, as_json: bool) -> None:
    """Say what was built; `redis_url` is that of the embedded server, if there is one."""
    if as_json:
        built = {"model": done.model, "users": done.users, "products": done.products, "quality": done.quality}
        example = str(directory / DEMO_EXAMPLES[chosen.name])
        click.echo(json.dumps({**built, "example": example, "embedded_redis": redis_url}))
    elif is_quiet():
        click.echo(done.model)
    else:
        _print_next(done, chosen, directory, redis_url)


def _print_quality(quality: Mapping[str, float]) -> None:
    """Say how good the model is, with the interval, so that nobody takes noise for skill."""
    q = quality
    lines = [
        f"AUC on the last {q['holdout_impressions']:,} impressions, {q['holdout_clicks']} clicks (95 % interval):",
        f"  model       {q['auc']:.3f}  [{q['auc_low']:.3f}, {q['auc_high']:.3f}]",
        f"  popularity  {q['baseline_auc']:.3f}  [{q['baseline_low']:.3f}, {q['baseline_high']:.3f}]",
    ]
    if q["auc_low"] <= q["baseline_auc"]:
        lines.append(f"  {q['train_clicks']} clicks to learn from are too few to beat popularity with certainty.")
    console().print("\n".join(lines), markup=False)


def _print_next(done: Done, chosen: Demo, directory: Path, redis_url: str | None) -> None:
    """Say how to serve what was built, and how to stop the embedded server at `redis_url`, if there is one."""
    variables = ""
    if redis_url and directory.resolve() != DEMO_FOLDER.resolve():  # that one is found without being named
        variables += f"RANKER_REDIS_URL={shlex.quote(redis_url)} "
    if Settings.model_fields["model"].default.partition(":")[0] != chosen.name:
        variables += f"RANKER_MODEL={done.model} "
    asking = curl("http://127.0.0.1:3000", body_in(directory / DEMO_EXAMPLES[chosen.name]))
    lines = ["", f"Serve it:  {variables}ranker serve", f"Ask it:    {asking}"]
    if redis_url:
        where = "" if directory.resolve() == DEMO_FOLDER.resolve() else f" --dir {shlex.quote(str(directory))}"
        lines.append(f"The embedded Redis keeps running; stop it with: ranker demo{where} --stop")
    console().print("\n".join(lines), markup=False)


@contextmanager
def _step(title: str) -> Iterator[Say]:
    """Show a step while it runs, and what came of it when it is done."""
    outcome = ""
    began = time.monotonic()
    if is_quiet():
        yield lambda _: None
        return
    with console().status(title) as status:

        def say(text: str) -> None:
            nonlocal outcome
            outcome = text
            status.update(f"{title}: {text}")

        yield say
    console().print(f"[green]✓[/] {title}: {outcome} [dim]({time.monotonic() - began:.1f} s)[/]")
