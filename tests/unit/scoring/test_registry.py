import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import onnx
import pytest

from ranker.errors import ModelNotFound, ModelNotStored, ModelRejected, ModelUnusable
from ranker.scoring.contents import Contents
from ranker.scoring.model import OnnxModel
from ranker.scoring.registry import find_model, list_models, load_model, schema_of, store_model
from ranker.vectors.schema import FeatureSchema
from tests.support.models import endless, mlp_onnx, schema_of_width, temporary_model_store

SCHEMA = schema_of_width(3, 4, user_default=0.5, product_default=float("nan"))
CONTENT = mlp_onnx(7)


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[Path]:
    with temporary_model_store(tmp_path):
        yield tmp_path


def create(tag: str, metadata: dict[str, object]) -> bentoml.Model:
    with bentoml.models.create(tag, metadata=metadata) as model:
        Path(model.path_of("model.onnx")).write_bytes(CONTENT)
    return bentoml.models.get(tag)


def metadata(of: FeatureSchema = SCHEMA, /, **changes: object) -> dict[str, object]:
    return {"ranker": {"format": 1, "schema": of.to_metadata(), "fingerprint": f"{of.fingerprint:08x}"} | changes}


def test_what_stopped_a_copy_into_the_store_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_links_to_nothing(self: Contents, folder: Path) -> None:
        for name in ("model.onnx", "weights"):
            (folder / name).symlink_to(tmp_path / "nowhere")

    monkeypatch.setattr(Contents, "write", write_links_to_nothing)
    with pytest.raises(ModelNotStored, match=r"^Model shop:v1 cannot be stored: \[Errno 2\] No such file[^(]*\.$"):
        store_model(CONTENT, SCHEMA, "shop", "v1")


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ([("a", "b", "No space left"), ("c", "d", "Input/output error")], "No space left"),
        ("Destination path exists", "Destination path exists"),
    ],
)
def test_of_a_copy_that_failed_the_first_reason_is_said(
    failure: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Contents, folder: Path) -> None:
        raise shutil.Error(failure)

    monkeypatch.setattr(Contents, "write", fail)
    with pytest.raises(ModelNotStored, match=rf"^Model shop:v1 cannot be stored: {said}\. Give "):
        store_model(CONTENT, SCHEMA, "shop", "v1")


def test_weights_beside_a_graph_are_tried_and_stored_with_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("graph") / "graph.onnx"
    graph = onnx.load_from_string(CONTENT)
    onnx.save_model(graph, path, save_as_external_data=True, location="weights", size_threshold=0)
    with pytest.raises(ModelNotStored, match=r"Model shop cannot be stored: its weights lie in model\.onnx"):
        store_model(path.read_bytes(), SCHEMA, "shop", weights=[path.with_name("model.onnx")])
    tag, _ = store_model(path.read_bytes(), SCHEMA, "shop", weights=[path.with_name("weights")])
    matrix = np.random.default_rng(0).random((5, 7), dtype=np.float32)
    np.testing.assert_array_equal(load_model(find_model(tag)).score(matrix), OnnxModel(CONTENT, SCHEMA).score(matrix))


@pytest.mark.parametrize("beyond", [-np.inf, 5, 5e6], ids=["near", "far", "ids"])
def test_a_graph_without_an_end_is_not_stored_and_import_ends_in_its_time(beyond: float) -> None:
    with pytest.raises(ModelRejected, match=r"did not end within 0\.2 s"):
        store_model(endless(7, beyond), SCHEMA, "shop", limit_s=0.2)
    assert list_models() == []


def test_a_stored_model_comes_back_with_its_schema_and_scores() -> None:
    tag, created = store_model(CONTENT, SCHEMA, "shop", "v1")
    assert (tag, created) == ("shop:v1", True)
    model = load_model(find_model(tag), threads=1)
    assert model.schema.to_metadata()["user"] == SCHEMA.to_metadata()["user"]
    assert model.schema.fingerprint == SCHEMA.fingerprint
    np.testing.assert_array_equal(model.schema.product.defaults, SCHEMA.product.defaults)
    matrix = np.random.default_rng(0).random((5, 7), dtype=np.float32)
    np.testing.assert_array_equal(model.score(matrix), OnnxModel(CONTENT, SCHEMA).score(matrix))


def test_the_metadata_is_what_the_contract_says() -> None:
    tag, _ = store_model(CONTENT, schema_of_width(3, 4), "shop")
    info = find_model(tag).info
    assert info.metadata == metadata(schema_of_width(3, 4))
    assert info.labels == {"fingerprint": f"{schema_of_width(3, 4).fingerprint:08x}"}


@pytest.mark.parametrize("version", [None, "v1"])
def test_storing_the_same_again_changes_nothing(version: str | None) -> None:
    tag, created = store_model(CONTENT, SCHEMA, "shop", version)
    before = find_model(tag).info.creation_time
    assert created
    assert store_model(CONTENT, SCHEMA, "shop", version) == (tag, False)
    assert find_model(tag).info.creation_time == before


def test_the_default_version_is_made_from_graph_and_schema() -> None:
    keys = {"user": {"key": "u2:{id}"}}
    other_keys = FeatureSchema.from_mapping(
        {k: v | keys.get(k, {}) for k, v in SCHEMA.to_metadata().items()}  # the fingerprint stays, the schema does not
    )
    stored = [
        store_model(content, schema, "shop")
        for content, schema in ((CONTENT, SCHEMA), (mlp_onnx(7, seed=1), SCHEMA), (CONTENT, other_keys))
    ]
    assert [created for _, created in stored] == [True, True, True]
    versions = {tag.partition(":")[2] for tag, _ in stored}
    assert len(versions) == 3
    assert all(len(version) == 12 and int(version, 16) >= 0 for version in versions)


def test_an_explicit_version_is_not_overwritten() -> None:
    store_model(CONTENT, SCHEMA, "shop", "v1")
    with pytest.raises(ModelNotStored, match=r"shop:v1 cannot be stored: the tag holds another model.*--version"):
        store_model(mlp_onnx(7, seed=1), SCHEMA, "shop", "v1")
    assert Path(find_model("shop:v1").path_of("model.onnx")).read_bytes() == CONTENT


@pytest.mark.parametrize("lost", ["model.yaml", "model.onnx"])
@pytest.mark.parametrize("version", [None, "v1"])
def test_the_remains_of_a_killed_import_are_replaced(lost: str, version: str | None) -> None:
    tag, _ = store_model(CONTENT, SCHEMA, "shop", version)
    Path(find_model(tag).path_of(lost)).unlink()
    assert store_model(CONTENT, SCHEMA, "shop", version) == (tag, True)
    load_model(find_model(tag))


def test_a_file_cut_short_under_its_content_version_is_replaced() -> None:
    tag, _ = store_model(CONTENT, SCHEMA, "shop")
    Path(find_model(tag).path_of("model.onnx")).write_bytes(CONTENT[:100])
    assert store_model(CONTENT, SCHEMA, "shop") == (tag, True)
    load_model(find_model(tag))


def test_of_imports_at_once_one_creates_and_the_others_find_it() -> None:
    with ThreadPoolExecutor(8) as pool:
        for seed in range(10):
            content = mlp_onnx(7, seed=seed)
            results = list(pool.map(lambda _, c=content: store_model(c, SCHEMA, "shop"), range(8)))
            assert len({tag for tag, _ in results}) == 1
            assert sorted(created for _, created in results) == [False] * 7 + [True]
    assert len(list_models()) == 10


def test_a_rejected_graph_is_not_stored() -> None:
    with pytest.raises(ModelRejected):
        store_model(mlp_onnx(8), SCHEMA, "shop")
    assert list_models() == []


@pytest.mark.parametrize(
    ("name", "version"),
    [("a b", None), ("", None), ("shop", ""), ("shop", "x" * 64), ("a:b", "v1"), ("shop", "latest")],
)
def test_an_invalid_name_or_version_is_refused(name: str, version: str | None) -> None:
    with pytest.raises(ModelNotStored, match=f"Model {name}:"):
        store_model(CONTENT, SCHEMA, name, version)


def test_an_invalid_tag_is_refused_with_the_rule() -> None:
    with pytest.raises(ModelNotStored) as refused:
        store_model(CONTENT, SCHEMA, "a b", "v1")
    rule = "is up to 63 letters, digits, '-', '_', '.', and begins and ends with a letter or digit."
    assert str(refused.value) == f"Model a b:v1 cannot be stored: a name or version {rule}"
    with pytest.raises(ModelNotStored, match="`latest` means the newest version"):
        store_model(CONTENT, SCHEMA, "shop", "latest")


def test_names_become_lowercase_as_bento_has_them(caplog: pytest.LogCaptureFixture) -> None:
    bento = logging.getLogger("bentoml")
    bento.addHandler(caplog.handler)
    try:
        assert store_model(CONTENT, SCHEMA, "Shop", "V1") == ("shop:v1", True)
    finally:
        bento.removeHandler(caplog.handler)
    assert caplog.records == []  # Bento warns of each that it is given in capitals


def test_a_loaded_model_has_the_threads_that_it_is_given() -> None:
    model = find_model(store_model(CONTENT, SCHEMA, "shop")[0])
    for given, threads in (({}, 1), ({"threads": 2}, 2)):
        options = load_model(model, **given).whole._session._session.get_session_options()
        assert options.intra_op_num_threads == threads


def test_a_store_that_cannot_be_written_is_a_clean_error(store: Path) -> None:
    shutil.rmtree(store)
    with pytest.raises(ModelNotStored, match="No such file"):
        store_model(CONTENT, SCHEMA, "shop")


def test_without_a_version_the_latest_is_found() -> None:
    store_model(CONTENT, SCHEMA, "shop", "v1")
    store_model(CONTENT, SCHEMA, "shop", "v2")
    assert str(find_model("shop").tag) == "shop:v2"
    assert str(find_model("shop:latest").tag) == "shop:v2"


@pytest.mark.parametrize("tag", ["shop", "shop:v1"])
def test_an_unknown_tag_is_not_found(tag: str) -> None:
    with pytest.raises(ModelNotFound, match="ranker model import"):
        find_model(tag)


def test_a_version_is_found_whole_and_never_by_its_beginning() -> None:
    tag, _ = store_model(CONTENT, SCHEMA, "shop")
    beginning = tag[: len("shop:") + 1]
    with pytest.raises(ModelNotFound, match=f"{beginning} is not in .* which holds {tag}; a version is given"):
        find_model(beginning)
    assert store_model(mlp_onnx(7, seed=1), SCHEMA, "shop", beginning.partition(":")[2]) == (beginning, True)
    assert [str(find_model(one).tag) for one in (beginning, tag)] == [beginning, tag]


def test_the_beginning_of_several_versions_names_them_all() -> None:
    for version in ("v10", "v11"):
        store_model(CONTENT, SCHEMA, "shop", version)
    with pytest.raises(ModelNotFound, match="which holds shop:v10, shop:v11;"):
        find_model("shop:v1")


def test_a_misspelt_name_is_answered_with_the_tags_that_look_like_it() -> None:
    store_model(CONTENT, SCHEMA, "shoes", "v1")
    with pytest.raises(ModelNotFound, match="which holds shoes:v1;"):
        find_model("shose:v1")


@pytest.mark.parametrize("asked", ["shose", "shose:another-version-1"])
def test_a_misspelt_name_is_answered_with_the_versions_of_the_one_like_it(asked: str) -> None:
    store_model(CONTENT, SCHEMA, "shoes", "of-29-november")
    store_model(CONTENT, SCHEMA, "carpets", "v1")
    with pytest.raises(ModelNotFound, match="which holds shoes:of-29-november;"):
        find_model(asked)


@pytest.mark.parametrize("tag", ["no tag", "shop:", ":v1", ""])
def test_an_invalid_tag_is_unusable(tag: str) -> None:
    with pytest.raises(ModelUnusable):
        find_model(tag)


def test_only_models_with_a_schema_are_listed() -> None:
    create("other:v1", {"made": "elsewhere"})
    store_model(CONTENT, SCHEMA, "shop", "v1")
    assert [str(model.tag) for model in list_models()] == ["shop:v1"]


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({}, "carries no feature schema.*ranker model import"),
        ({"ranker": "x"}, "carries no feature schema"),
        (metadata(format=2), "format 2; this version reads 1"),
        (metadata(schema={"user": {}}), "product: it is missing"),
        (metadata(fingerprint="00000000"), "fingerprint '00000000'.*Import it again"),
    ],
)
def test_metadata_that_does_not_hold_is_refused(stored: dict[str, object], message: str) -> None:
    model = create("shop:v1", stored)
    with pytest.raises(ModelUnusable, match=f"(?s)Model shop:v1 cannot be served: .*{message}"):
        schema_of(model)


def test_a_model_stored_when_a_head_was_guessed_says_how_to_import_it_again() -> None:
    from tests.unit.scoring.graph.test_output import heads

    schema = schema_of_width(5, 7)
    with bentoml.models.create("shop:v1", metadata=metadata(schema)) as stored:
        Path(stored.path_of("model.onnx")).write_bytes(heads("click_prob", "utility"))
    with pytest.raises(ModelUnusable, match=r"`output: click_prob` or `output: utility`\. Import it again\."):
        load_model(find_model("shop:v1"))


@pytest.mark.parametrize("damage", ["missing", "garbage", "of another width"])
def test_a_stored_file_that_does_not_load_is_unusable(damage: str) -> None:
    model = find_model(store_model(CONTENT, SCHEMA, "shop")[0])
    path = Path(model.path_of("model.onnx"))
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"garbage" if damage == "garbage" else mlp_onnx(9))
    with pytest.raises(ModelUnusable, match=r"Model shop:.* cannot be served"):
        load_model(model)
