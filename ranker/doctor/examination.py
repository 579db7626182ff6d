"""Examination: the order of the checks, and which need what others found.

Nothing here takes longer than its bound, and after a server that does not answer no more is asked of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, ResponseError

from ranker.doctor.attempt import attempt, one_line
from ranker.doctor.invalidation import check_tracking
from ranker.doctor.nodes import TIMEOUT_S, Node, Nodes, find_nodes
from ranker.doctor.runner import check_runner
from ranker.doctor.sample import Sample, check_stored, take_sample
from ranker.doctor.server import check_eviction, check_reachable, check_server
from ranker.doctor.start import check_cores, check_memory, check_settings, open_model
from ranker.doctor.trial import check_ranking, check_round_trips
from ranker.errors import EntraPackageMissing
from ranker.redis.url import parse
from ranker.redis.wire.url_options import find_problem
from ranker.scoring.loaded import LoadedModel
from ranker.settings.environment import Settings
from ranker.upkeep.finding import Finding, fail, warn

LIMIT_S = 10.0
"""The bound on one check; each call in it has a shorter one."""
MODEL_LIMIT_S = 60.0
"""The same for loading the model, which may be large and on a slow disk."""


class Examination:
    """One run of the doctor.

    Args:
        environ: The environment the service would start with.
        project: The folder that holds the package `ranker`.

    Attributes:
        settings, model, sample: What the checks found; None where they did not.
    """

    def __init__(self, environ: Mapping[str, str], project: Path) -> None:
        self._environ = environ
        self._project = project
        self.settings: Settings | None = None
        self.model: LoadedModel | None = None
        self.sample: Sample | None = None
        self._beside: dict[str, LoadedModel] = {}
        self._nodes: Nodes | None = None

    def findings(self) -> Iterator[Finding]:
        """Yield each finding as soon as it is known; never raises."""
        yield from attempt("settings", self._settings, LIMIT_S)
        settings = self.settings
        if settings is None:
            return
        yield from attempt("model", lambda: self._model(settings), MODEL_LIMIT_S)
        model = self.model
        yield from attempt("redis", lambda: self._find(settings), LIMIT_S)
        if self._nodes is not None:
            with self._nodes as nodes:
                yield from self._redis(settings, model, nodes)
        if model is not None:
            yield from attempt("runner", lambda: [check_runner(settings, model)], LIMIT_S)
        yield from attempt("cores", lambda: [check_cores(settings)], LIMIT_S)
        if model is not None:
            yield from attempt("memory", lambda: [check_memory(settings, self._models(model))], LIMIT_S)

    def _settings(self) -> list[Finding]:
        self.settings, finding = check_settings(self._environ, self._project)
        return [finding]

    def _model(self, settings: Settings) -> list[Finding]:
        self.model, findings = open_model(settings.model)
        opened = {} if self.model is None else {settings.model: self.model}
        for role, tag in (("canary", settings.canary_model), ("shadow", settings.shadow_model)):
            if tag is not None:
                other, found = open_model(tag, role)
                findings += found
                if other is None:
                    continue
                self._beside[role] = other
                for beside, model in opened.items():
                    if shared := model.schema.shared_keys(other.schema):
                        seen, _, remedy = shared.partition(". ")
                        findings.append(fail(f"{role} keys", f"beside {beside}, {seen}", remedy))
                        break
                opened[tag] = other
        return findings

    def _models(self, model: LoadedModel) -> dict[str, LoadedModel]:
        return {"model": model, **self._beside}

    def _find(self, settings: Settings) -> list[Finding]:
        if (wrong := find_problem(settings.redis_url)) is not None:
            remedy = (
                "Correct the options behind the ? and the database's number; special characters are written as %XX."
            )
            return [fail("redis", f"RANKER_REDIS_URL {wrong}", remedy)]
        try:
            self._nodes, findings = find_nodes(settings.redis_url)
        except EntraPackageMissing as err:
            return [fail("redis", one_line(str(err)), "Install 'bento-ranker[entra]', or use an access key.")]
        return findings

    def _redis(self, settings: Settings, model: LoadedModel | None, nodes: Nodes) -> Iterator[Finding]:
        answered = True
        for node in nodes.nodes:
            for finding in _examined(node):
                answered &= (finding.check, finding.status) != ("redis", "fail")
                yield finding if len(nodes.nodes) == 1 else _of_one(node, finding)
        if not answered:
            return
        if model is None:  # what is stored, and how it is asked for, only the model knows
            return
        schema = model.schema
        yield from attempt("tracking", lambda: [check_tracking(settings, schema, nodes, TIMEOUT_S)], LIMIT_S)
        yield from attempt("features", lambda: self._features(nodes, model), LIMIT_S)
        sample = self.sample
        yield from attempt("round trip", lambda: [check_round_trips(settings, schema, sample)], LIMIT_S)
        yield from attempt("trial ranking", lambda: [check_ranking(settings, model, sample)], LIMIT_S)

    def _features(self, nodes: Nodes, model: LoadedModel) -> list[Finding]:
        try:
            self.sample = sample = take_sample(nodes, model.schema)
        except NoPermissionError:
            raise
        except (ResponseError, RedisConnectionError):
            for client in nodes.clients:
                client.ping()  # raises where Redis is what failed
            remedy = "Look at some yourself, as `ranker features inspect ID` shows them."
            return [warn("features", "not offered by a proxy: SCAN", remedy)]
        findings = [check_stored(entity, sample.keyspace) for entity in sample.entities]
        for role, other in self._beside.items():
            taken = take_sample(nodes, other.schema)
            stored = (check_stored(entity, taken.keyspace) for entity in taken.entities)
            findings += (replace(found, check=f"{role} {found.check}") for found in stored)
        return findings


def _examined(node: Node) -> Iterator[Finding]:
    """Yield what is found of one server; only that where it does not answer."""
    reached = attempt("redis", lambda: [check_reachable(node.client)], LIMIT_S)
    yield from reached
    if reached[0].status != "fail":
        yield from attempt("server", lambda: check_server(node.client), LIMIT_S)
        yield from attempt("eviction", lambda: [check_eviction(node.client)], LIMIT_S)


def _of_one(node: Node, finding: Finding) -> Finding:
    """Say which of several servers it is about."""
    where = parse(node.url).where
    seen = finding.seen if where in finding.seen else f"{where}: {finding.seen}"
    return replace(finding, seen=seen, data=finding.data | {"node": where})
