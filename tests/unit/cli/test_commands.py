"""What holds for all commands, and the small ones: config, init, model list and rm, completion."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from ranker.cli import main
from ranker.settings.environment import Settings
from ranker.vectors.schema_file import read_schema
from tests.support.models import mlp_onnx, temporary_model_store

SCHEMA = "user: {features: [age]}\nproduct: {features: [price]}\n"


def run(*arguments: str, **given: str) -> Result:
    return CliRunner().invoke(main, arguments, env=given or None)


def commands(group: click.Group, name: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for part in group.list_commands(context):
        found = group.get_command(context, part)
        assert found is not None
        if isinstance(found, click.Group):
            yield from commands(found, f"{name} {part}")
        else:
            yield f"{name} {part}", found


COMMANDS = dict(commands(main, "ranker"))
ALWAYS_JSON, FOREGROUND = {"ranker rank"}, {"ranker serve"}
"""What prints nothing but JSON, and what runs until it is ended."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A model store with shoes:1, shoes:2 and curtains:c4f, below BENTOML_HOME."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    (tmp_path / "model.onnx").write_bytes(mlp_onnx(2))
    (tmp_path / "models").mkdir()
    with temporary_model_store(tmp_path / "models"):
        for name, version in (("shoes", "1"), ("shoes", "2"), ("curtains", "c4f")):
            options = ["--schema", "schema.yaml", "--name", name, "--version", version]
            assert run("model", "import", "model.onnx", *options).exit_code == 0
        yield tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("features", "load", "users.csv", "--entity", "user", "--model", "schema.yaml"),
        ("features", "inspect", "u1", "--model", "schema.yaml"),
        ("features", "verify", "--model", "schema.yaml"),
        ("demo",),
    ],
    ids=" ".join,
)
def test_redis_that_is_not_there_is_an_error_that_says_what_to_do(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("schema.yaml").write_text(SCHEMA)
    Path("users.csv").write_text("id,age\nu1,30\n")
    result = run(*arguments, RANKER_REDIS_URL=f"unix://{tmp_path}/nowhere.sock")
    assert result.exit_code == 1
    assert "No such file or directory. Start Redis, or correct RANKER_REDIS_URL" in result.stderr


@pytest.mark.parametrize(
    ("login", "database", "message"),
    [
        ("nobody:wrong@", "0", "disabled. Put the right user and password into RANKER_REDIS_URL, with special"),
        ("", "999", "DB index is out of range. Name a database in RANKER_REDIS_URL that this Redis has: /0 at the end"),
    ],
)
def test_redis_that_refuses_is_not_to_be_started(
    login: str, database: str, message: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("schema.yaml").write_text(SCHEMA)
    url = f"{redis_url.replace('://', f'://{login}').partition('?')[0]}?db={database}"
    result = run("features", "inspect", "u1", "--model", "schema.yaml", RANKER_REDIS_URL=url)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "wrong" not in result.stderr


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("nowhere/schema.yaml", "nowhere/schema.yaml cannot be used: No such file or directory. Mend its folder"),
        pytest.param(
            "/dev/full",
            "Nothing more can be written: No space left on device. Make room there",
            marks=pytest.mark.skipif(
                not Path("/dev/full").exists(), reason="only Linux has a file that is always full"
            ),
        ),
    ],
)
def test_file_that_cannot_be_written_is_one_clean_message(
    output: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("users.csv").write_text("id,age\nu1,30\n")
    result = run("init", "--users", "users.csv", "--products", "users.csv", "--force", "--output", output)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.startswith(f"Error: {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "it is empty."), ("id;age\nu1;30\n", "its first line has one field, id;age: a .csv has commas")],
    ids=["empty", "semicolons"],
)
def test_init_says_what_a_file_without_columns_lacks(
    content: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("users.csv").write_text(content)
    result = run("init", "--users", "users.csv", "--products", "users.csv")
    assert result.exit_code == 1
    assert f"users.csv cannot be read: {message}" in result.stderr


GROUPS = ["ranker", *sorted({name.rpartition(" ")[0] for name in COMMANDS if name.count(" ") > 1})]


@pytest.mark.parametrize("name", [*GROUPS, *COMMANDS])
def test_help_ends_with_examples_of_the_command(name: str) -> None:
    said = run(*name.split()[1:], "--help")
    assert f"{name} " in f"{said.output.partition('Examples:')[2]} "


OPTIONS = [
    (name, option)
    for name, command in COMMANDS.items()
    for option in command.params
    if isinstance(option, click.Option) and not option.is_flag
]


@pytest.mark.parametrize(("name", "option"), OPTIONS, ids=lambda part: getattr(part, "name", part))
def test_help_says_what_an_option_means_and_its_default(name: str, option: click.Option) -> None:
    (_, said) = option.get_help_record(click.Context(COMMANDS[name])) or ("", "")
    assert option.help
    assert "[default: " in said or not isinstance(option.default, str | int | float | Path | tuple)


def test_help_of_serve_names_the_settings_that_its_options_stand_for() -> None:
    said = " ".join(run("serve", "--help").output.split())
    for name in ("model", "redis_url", "workers", "runner"):
        assert f"[default: (RANKER_{name.upper()}, else {Settings.model_fields[name].default})]" in said


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - FOREGROUND - ALWAYS_JSON))
def test_programs_can_read_the_answer(name: str) -> None:
    assert "--json" in {option for parameter in COMMANDS[name].params for option in parameter.opts}


@pytest.mark.parametrize("group", GROUPS)
def test_list_of_commands_is_not_cut(group: str) -> None:
    said = run(*group.split()[1:], "--help").output
    assert "..." not in said.partition("Commands:")[2].partition("Examples:")[0]


@pytest.mark.parametrize(
    ("typed", "meant"), [(["modle"], "model"), (["features", "laod"], "load"), (["model", "lst"], "list")]
)
def test_misspelt_command_names_the_one_that_was_meant(typed: list[str], meant: str) -> None:
    done = run(*typed)
    assert done.exit_code == 2
    assert f"Did you mean '{meant}'" in done.output


@pytest.mark.parametrize(("typed", "meant"), [("shose", "shoes:1"), ("shose:1", "shoes:1"), ("shoes:3", "shoes:1")])
def test_tag_of_no_model_names_those_that_are_near(store: Path, typed: str, meant: str) -> None:
    done = run("model", "show", typed)
    assert done.exit_code == 1
    assert f"Model {typed} is not" in done.output
    assert meant in done.output
    assert "curtains" not in done.output


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version_is_told(option: str) -> None:
    assert run(option).output.startswith("ranker, version ")


def test_models_are_listed(store: Path) -> None:
    listed = json.loads(run("model", "list", "--json").output)
    assert [one["tag"] for one in listed] == ["curtains:c4f", "shoes:1", "shoes:2"]
    assert "shoes:2" in run("model", "list").output


def test_models_are_removed_by_their_whole_tags_or_not_at_all(store: Path) -> None:
    done = run("model", "rm", "--yes", "shoes")
    assert done.exit_code == 2
    assert "shoes names no version. There are: shoes:1, shoes:2." in done.output
    assert run("model", "rm", "--yes", "shoes:1", "shoes:7").exit_code == 1
    assert "shoes:1" in run("model", "list").output
    assert json.loads(run("model", "rm", "--yes", "shoes:1", "--json").output) == {"removed": ["shoes:1"]}
    assert [one["tag"] for one in json.loads(run("model", "list", "--json").output)] == ["curtains:c4f", "shoes:2"]


def test_import_tells_programs_the_tag(store: Path) -> None:
    done = run("model", "import", "model.onnx", "--schema", "schema.yaml", "--name", "boots", "--json")
    told = json.loads(done.output)
    assert told["imported"]
    assert told["tag"].startswith("boots:")
    assert told["width"] == 2


def test_nothing_is_removed_without_a_yes(store: Path) -> None:
    done = CliRunner().invoke(main, ["model", "rm", "shoes:2"], input="n\n", env={"RANKER_MODEL": "shoes:2"})
    assert done.exit_code == 1
    assert "shoes:2 is what would be served from here" in done.output
    assert "shoes:2" in run("model", "list").output


def test_settings_are_shown_with_their_origin_and_without_their_secrets() -> None:
    secrets = {"RANKER_REDIS_URL": "redis://me:hush@cache:6380/1", "RANKER_API_TOKEN": "hush-hush-hush-hush"}
    done = run("config", "--json", RANKER_CACHE_MB="16", **secrets)
    assert "hush" not in done.output
    shown = json.loads(done.output)
    assert set(shown) == {f"RANKER_{name.upper()}" for name in Settings.model_fields}
    assert shown["RANKER_CACHE_MB"] == {"value": 16, "from": "the environment"}
    assert shown["RANKER_REDIS_URL"] == {"value": "cache:6380", "from": "the environment"}
    assert shown["RANKER_WORKERS"] == {"value": "auto", "from": "default"}
    changed = run("config", "--changed", RANKER_CACHE_MB="16").output
    assert "RANKER_CACHE_MB" in changed
    assert "RANKER_WORKERS" not in changed


def test_redis_of_the_demo_is_said_to_be_its(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".ranker").mkdir()
    (tmp_path / ".ranker" / "redis.sock").touch()
    shown = json.loads(run("config", "--changed", "--json").output)["RANKER_REDIS_URL"]
    assert shown == {"value": str(tmp_path / ".ranker" / "redis.sock"), "from": ".ranker, of ranker demo"}


def files(folder: Path) -> list[str]:
    (folder / "users.csv").write_text("\ufeffid,age,town,spend: all\nu1,30,Rome,1.5\nu2,,Bonn,2\n", encoding="utf-8")
    (folder / "products.tsv").write_text("price\tsku\tstock\n9.5\tp1\t3\n")
    return ["init", "--users", "users.csv", "--products", "products.tsv"]


def test_schema_to_begin_with_has_the_numbers_of_the_files_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = files(tmp_path)
    (tmp_path / "products.tsv").write_text("price\tid\tstock\n9.5\tp1\t3\n")
    done = run(*command)
    assert done.exit_code == 0, done.output
    assert "of the users: town." in done.output
    assert yaml.safe_load((tmp_path / "schema.yaml").read_text()) == {
        "user": {"key": "user:{id}", "features": ["age", "spend: all"]},
        "product": {"key": "product:{id}", "features": ["price", "stock"]},
    }
    assert run(*command, "--force", "--output", "users.csv").exit_code == 2
    assert (tmp_path / "users.csv").read_text(encoding="utf-8").startswith("\ufeffid,")
    again = run(*command)
    assert again.exit_code == 2
    assert "schema.yaml is there already" in again.output
    assert json.loads(run(*command, "--force", "--json").output)["left_out"] == {"user": ["town"]}


def test_column_of_texts_becomes_a_feature_where_its_comment_is_made_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = files(tmp_path)
    (tmp_path / "products.tsv").write_text("price\tid\tstock\n9.5\tp1\t3\n")
    assert "comments in the file show how" in run(*command).output
    written = (tmp_path / "schema.yaml").read_text()
    (tmp_path / "schema.yaml").write_text(written.replace("# - {", "- {").replace("[a, b]", "[Rome, Bonn]"))
    assert read_schema(tmp_path / "schema.yaml").user.names == ("age", "spend: all", "town")


def test_schema_to_begin_with_fits_a_model_and_loads_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("pyarrow")
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"id": ["u1"], "age": [30], "vip": [True], "town": ["Rome"]}), "users.parquet")
    parquet.write_table(pyarrow.table({"id": ["p1"], "price": [9.5]}), "products.parquet")
    assert run("init", "--users", "users.parquet", "--products", "products.parquet").exit_code == 0
    (tmp_path / "model.onnx").write_bytes(mlp_onnx(3))
    (tmp_path / "models").mkdir()
    with temporary_model_store(tmp_path / "models"):
        done = run("model", "import", "model.onnx", "--schema", "schema.yaml", "--name", "shop")
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "it has no column id, but a, b; --id-column names another"),
        ("id,a,a\n1,2,3\n", "it has two columns a"),
        ("", "it is empty"),
        ("\udcff", "it is not written in UTF-8; save it so."),
    ],
)
def test_file_that_cannot_tell_its_features_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    command = files(tmp_path)
    (tmp_path / "users.csv").write_text(text, errors="surrogateescape")
    done = run(*command)
    assert done.exit_code == 1
    assert f"users.csv cannot be read: {said}" in done.output
    assert not (tmp_path / "schema.yaml").exists()


def test_shells_complete_commands_and_the_tags_of_models(store: Path) -> None:
    def complete(words: str, position: int) -> str:
        given = {"_RANKER_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(position)}
        home = {"BENTOML_HOME": str(store)}
        command = [sys.executable, "-c", "from ranker.cli import main; main(prog_name='ranker')"]
        return subprocess.run(command, env=os.environ | home | given, capture_output=True, text=True, timeout=30).stdout

    assert complete("ranker mo", 1).split() == ["plain,model"]
    assert complete("ranker serve --model sh", 3).split() == ["plain,shoes:1", "plain,shoes:2"]


def test_interrupted_load_exits_as_shells_do_and_says_how_to_go_on(store: Path, redis_url: str) -> None:
    rows = "".join(f"u{i},{i % 90}\n" for i in range(60_000))
    (store / "users.csv").write_text("id,age\n" + rows)
    command = [sys.executable, "-m", "ranker", "features", "load", "users.csv", "--entity", "user"]
    options = ["--model", "schema.yaml", "--max-rate", "1000"]
    environ = os.environ | {"RANKER_REDIS_URL": redis_url}
    with subprocess.Popen([*command, *options], cwd=store, env=environ, stderr=subprocess.PIPE, text=True) as process:
        from redis import Redis

        from ranker.demo.servers import wait_for

        with Redis.from_url(redis_url) as client:
            wait_for(lambda: client.exists("user:u0"))
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 130
    assert said.strip() == "Interrupted. What was written stays; the same command with --resume goes on from there."


INTERRUPTED_IMPORT = """
import signal, sys, click
from ranker.cli.display.output import CleanGroup, say_when_interrupted

@click.group(cls=CleanGroup)
def main(): pass

@main.command()
def score():
    say_when_interrupted("Again.")
    import ranker.scoring.session
    sys.exit("what follows was not left out")

def interrupt(event, arguments):  # Python's part of the signal comes within the C++ that this import runs
    if event == "import" and "onnxruntime_pybind11_state" in arguments[0]:
        signal.setitimer(signal.ITIMER_REAL, DELAY_S)

signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
sys.addaudithook(interrupt)
main(["score"])
"""


@pytest.mark.parametrize("delay_s", ["0.001", "0.01"])
def test_ctrl_c_while_onnx_runtime_is_imported_is_said_like_any_other(delay_s: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED_IMPORT.replace("DELAY_S", delay_s)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "\nInterrupted. Again.\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")
@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("config", "--help"), ("config",)], ids=" ".join)
def test_output_that_finds_no_room_is_one_clean_message(arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "ranker", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Nothing more can be written: No space left on device. Make room there")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["config --changed", "config --json"])
def test_commands_run_where_a_stream_is_closed(command: str, closed: str) -> None:
    shell = f"exec {sys.executable} -m ranker {command} {closed}"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


INTERRUPTED_ENTRY = """
import atexit, signal, sys
WHEN = {when!r}

def interrupt(event, arguments):
    if event == "import" and arguments[0] == WHEN:
        signal.raise_signal(signal.SIGINT)

sys.addaudithook(interrupt)
if WHEN == "exit":
    atexit.register(signal.raise_signal, signal.SIGINT)
sys.argv = ["ranker", "--version"]
from ranker.__main__ import main
main()
"""


@pytest.mark.parametrize("when", ["click", "ranker.cli.display.output", "exit"])
def test_ctrl_c_while_the_command_line_loads_and_ends_leaves_no_traceback(when: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED_ENTRY.format(when=when)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_nohup_keeps_ctrl_c_from_the_command_line() -> None:
    ignored = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
    script = INTERRUPTED_ENTRY.format(when="click").replace("WHEN =", f"{ignored}; WHEN =", 1)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.startswith("ranker, version ")
