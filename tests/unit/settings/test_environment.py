from pathlib import Path

import pytest

from ranker.errors import InvalidSettings
from ranker.process.cores import usable_cores
from ranker.settings.destination import Folder, Stream
from ranker.settings.environment import Settings
from ranker.settings.variables import KUBERNETES


def test_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_env({"PATH": "/bin"})
    assert settings.runner == "service"
    assert settings.redis_url == "redis://127.0.0.1:6379/0"
    assert settings.on_failure == "degrade"


def test_environment_goes_before_defaults_of_the_place() -> None:
    place = {"model": "built-in:1", "redis_url": "unix:///x.sock"}
    settings = Settings.from_env({"RANKER_MODEL": "mine:2"}, place)
    assert (settings.model, settings.redis_url) == ("mine:2", "unix:///x.sock")


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(InvalidSettings) as caught:
        Settings.from_env(
            {
                "RANKER_RUNER": "local",
                "RANKER_WORKERS": "many",
                "RANKER_DEADLINE_MS": "-1",
                "RANKER_REDIS_URL": "http://user:hunter2@host",
                "RANKER_ON_FAILURE": "panic",
            }
        )
    message = str(caught.value)
    assert len(caught.value.problems) == 5
    for said in ("RANKER_RUNNER?", "RANKER_WORKERS='many'", "RANKER_DEADLINE_MS", "redis://", "'degrade' or 'error'"):
        assert said in message
    assert "hunter2" not in message


def test_password_of_the_url_is_not_shown() -> None:
    assert "hunter2" not in repr(Settings.from_env({"RANKER_REDIS_URL": "redis://:hunter2@host"}))


@pytest.mark.parametrize(
    "url", ["redis://:hun/ter2@host:6379", "redis://:hun#ter2@host", "redis://:hunter2@host:99999"]
)
def test_url_that_cannot_be_read_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(InvalidSettings, match="%XX") as caught:
        Settings.from_env({"RANKER_REDIS_URL": url})
    assert "hun" not in str(caught.value)


@pytest.mark.parametrize("service", ["RANKER", "RANKER_REDIS", "RANKER_V2_MODEL"])
def test_what_kubernetes_injects_for_a_service_is_not_refused(service: str) -> None:
    injected = {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "6379",
        "SERVICE_PORT_HTTP": "3000",
        "PORT": "tcp://10.0.0.1:6379",
        "PORT_6379_TCP": "tcp://10.0.0.1:6379",
        "PORT_6379_TCP_PROTO": "tcp",
        "PORT_6379_TCP_PORT": "6379",
        "PORT_6379_TCP_ADDR": "10.0.0.1",
        "PORT_53_UDP": "udp://10.0.0.1:53",
    }
    assert Settings.from_env({f"{service}_{name}": text for name, text in injected.items()}) == Settings()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("RANKER_REDIS_PORT", "6379"),
        ("RANKER_PORT", "3000"),
        ("RANKER_SERVICE", "x"),
        ("RANKER_REDIS_HOST", "10.0.0.1"),
    ],
)
def test_what_looks_like_kubernetes_and_is_not_is_refused(variable: str, text: str) -> None:
    with pytest.raises(InvalidSettings, match=f"{variable} is not a setting"):
        Settings.from_env({variable: text})


def test_no_setting_has_a_name_that_kubernetes_may_inject() -> None:
    for name in Settings.model_fields:
        assert not KUBERNETES.fullmatch(f"RANKER_{name.upper()}=tcp://10.0.0.1:1")


def test_automatic_workers_are_one_for_each_core() -> None:
    for runner in ("service", "local"):
        assert Settings.from_env({"RANKER_RUNNER": runner}).api_workers == usable_cores()
    assert Settings.from_env({"RANKER_WORKERS": "3"}).api_workers == 3


@pytest.mark.parametrize(
    ("cores", "given", "threads"),
    [
        (1, {}, 1),
        (2, {}, 2),
        (64, {}, 4),
        (8, {"RUNNER": "local"}, 1),
        (8, {"RUNNER": "local", "WORKERS": "3"}, 2),
        (2, {"RUNNER": "local", "WORKERS": "3"}, 1),
        (2, {"SCORE_THREADS": "6"}, 6),
        (8, {"SCORE_THREADS": "1"}, 1),
    ],
)
def test_a_lone_request_has_the_cores_that_its_scorer_may_use(
    cores: int, given: dict[str, str], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ranker.settings.environment.usable_cores", lambda: cores)
    settings = Settings.from_env({f"RANKER_{name}": value for name, value in given.items()})
    assert settings.lone_threads == threads


@pytest.mark.parametrize("variable", ["RANKER_MODEL", "RANKER_CANARY_MODEL", "RANKER_SHADOW_MODEL"])
def test_text_that_is_no_tag_is_told_in_words_what_one_is(variable: str) -> None:
    with pytest.raises(InvalidSettings, match=f"{variable}='shoes 2': a tag is NAME or NAME:VERSION"):
        Settings.from_env({variable: "shoes 2"})


def test_token_is_never_shown() -> None:
    token = "correct-horse-battery"
    settings = Settings.from_env({"RANKER_API_TOKEN": token})
    assert settings.api_tokens == (token,)
    assert token not in repr(settings)
    assert Settings.from_env({}).api_tokens == ()
    for bad in ("short-one", "with space " * 3, "ünïcödé-ünïcödé-ünïcödé", ""):
        with pytest.raises(InvalidSettings) as refused:
            Settings.from_env({"RANKER_API_TOKEN": bad})
        assert "RANKER_API_TOKEN: a token has at least 16 printable" in str(refused.value)
        assert not bad or bad not in str(refused.value)


def test_one_token_follows_another_by_a_list_of_both() -> None:
    old, new = "correct-horse-battery", "battery-horse-correct"
    settings = Settings.from_env({"RANKER_API_TOKEN": f"{old},{new}"})
    assert settings.api_tokens == (old, new)
    assert new not in repr(settings)
    for bad in (f"{old},", f",{old}", f"{old},,{new}", f"{old}, {new}", f"{old},short"):
        with pytest.raises(InvalidSettings) as refused:
            Settings.from_env({"RANKER_API_TOKEN": bad})
        assert old not in str(refused.value)


def test_origins_are_what_browsers_send() -> None:
    assert Settings.from_env({}).allowed_origins == ()
    assert Settings.from_env({"RANKER_CORS_ORIGINS": "*"}).allowed_origins == ("*",)
    both = "https://shop.example,http://localhost:8080"
    assert Settings.from_env({"RANKER_CORS_ORIGINS": both}).allowed_origins == tuple(both.split(","))
    for bad in ("shop.example", "https://shop.example/", "https://Shop.example", "https://a, https://b", "*,https://a"):
        with pytest.raises(InvalidSettings, match="is no origin"):
            Settings.from_env({"RANKER_CORS_ORIGINS": bad})


def test_feature_log_goes_to_a_folder_or_a_stream() -> None:
    url = "redis://:hunter2@logs:6379/1?stream=served&socket_keepalive=1"
    for text, found in (
        ("/var/log/ranker", Folder(Path("/var/log/ranker"))),
        ("stream:served", Stream("redis://features:1", "served")),
        (url, Stream("redis://:hunter2@logs:6379/1?socket_keepalive=1", "served")),
        ("unix:///run/redis.sock?stream=a:b", Stream("unix:///run/redis.sock", "a:b")),
    ):
        settings = Settings.from_env({"RANKER_FEATURE_LOG": text, "RANKER_REDIS_URL": "redis://features:1"})
        assert settings.feature_log_destination == found
        assert "hunter2" not in f"{settings!r} {found!r} {found.where}"
    assert Settings.from_env({}).feature_log_destination is None


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RANKER_FEATURE_LOG": "stream:"}, "the stream's key"),
        ({"RANKER_FEATURE_LOG": "redis://:hunter2@logs"}, "name one stream"),
        ({"RANKER_FEATURE_LOG": "redis://:hunter2@logs?stream=a&stream=b"}, "name one stream"),
        ({"RANKER_FEATURE_LOG": "s3://hunter2/served?stream=a"}, "a Redis URL begins with"),
        ({"RANKER_FEATURE_LOG": ""}, "RANKER_FEATURE_LOG"),
        ({"RANKER_FEATURE_LOG_PERCENT": "5"}, "RANKER_FEATURE_LOG_PERCENT needs RANKER_FEATURE_LOG"),
        ({"RANKER_MAX_BODY_BYTES": f"{65 << 20}"}, "RANKER_MAX_BODY_BYTES is more than RANKER_MAX_BUFFERED_MB holds"),
    ],
)
def test_feature_log_that_goes_nowhere_is_refused(variables: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        Settings.from_env(variables)
    assert said in str(refused.value)
    assert "hunter2" not in str(refused.value)
