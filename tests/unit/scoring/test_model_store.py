import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ranker.errors import ModelNotRemoved, ModelNotStored, ModelUnusable
from ranker.scoring import model_store
from ranker.scoring.registry import find_model, list_models, store_model
from tests.support.models import mlp_onnx, schema_of_width, temporary_model_store

SCHEMA = schema_of_width(3, 4)
CONTENT = mlp_onnx(7)
REMEDY = "is missing or damaged. Import it again, or remove it with `ranker model rm shop:v1`."
DAMAGES = {
    "absent": None,
    "empty": "",
    "cut": "name: shop\nversion: v1\n",
    "no YAML": "name: [",
    "another value": "[1]",
}


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[Path]:
    with temporary_model_store(tmp_path):
        yield tmp_path


def damage(folder: Path, content: str | None) -> None:
    """Leave what an import leaves that was killed, or that found no room."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "model.yaml"
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_text(content)


def tags_of_all() -> list[str]:
    return [str(model.tag) for model in list_models()]


@pytest.mark.parametrize("content", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_model_hides_no_other_and_is_named_with_what_to_do(store: Path, content: str | None) -> None:
    store_model(CONTENT, SCHEMA, "carpets", "v1")
    damage(store / "shop" / "v1", content)
    assert tags_of_all() == ["carpets:v1"]
    assert model_store.read_all()[1] == ["shop:v1"]
    for tag in ("shop:v1", "shop"):
        with pytest.raises(ModelUnusable) as refused:
            find_model(tag)
        assert str(refused.value) == f"Model {tag} cannot be served: the model.yaml of shop:v1 {REMEDY}"
    model_store.remove("shop:v1")
    assert model_store.tags() == ["carpets:v1"]


@pytest.mark.parametrize("content", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_model_is_replaced_by_the_next_import_of_its_tag(store: Path, content: str | None) -> None:
    damage(store / "shop" / "v1", content)
    damage(store / "shop" / "v0", content)
    assert store_model(CONTENT, SCHEMA, "shop", "v1") == ("shop:v1", True)
    assert tags_of_all() == ["shop:v1"]


def test_damaged_versions_are_removed_one_by_one_and_the_latest_is_the_one_left(store: Path) -> None:
    store_model(CONTENT, SCHEMA, "shop", "v0")
    for version in ("v1", "v2"):
        store_model(CONTENT, SCHEMA, "shop", version)
    for version in ("v1", "v2"):
        damage(store / "shop" / version, None)
    for tag in ("shop:v1", "shop:v2"):
        model_store.remove(tag)
    assert str(find_model("shop").tag) == "shop:v0"


def test_no_version_is_stored_beside_a_damaged_latest_one(store: Path) -> None:
    store_model(CONTENT, SCHEMA, "shop", "v1")
    damage(store / "shop" / "v1", None)
    with pytest.raises(ModelNotStored, match=rf"^Model shop:v2 cannot be stored: .* of shop:v1 {REMEDY}$"):
        store_model(CONTENT, SCHEMA, "shop", "v2")
    assert model_store.tags() == ["shop:v1"]
    assert store_model(CONTENT, SCHEMA, "shop", "v1") == ("shop:v1", True)
    assert store_model(CONTENT, SCHEMA, "shop", "v2") == ("shop:v2", True)


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff"], ids=["empty", "blank", "no text"])
def test_a_file_that_names_no_latest_version_is_named_and_made_anew_once_it_is_removed(
    store: Path, content: bytes
) -> None:
    for version in ("v1", "v2"):
        store_model(CONTENT, SCHEMA, "shop", version)
    file = store / "shop" / "latest"
    file.write_bytes(content)
    reason = f"the file {file} names no version. Remove it, and BentoML makes it anew."
    for tag in ("shop", "shop:latest"):
        with pytest.raises(ModelUnusable) as unusable:
            find_model(tag)
        assert str(unusable.value) == f"Model {tag} cannot be served: {reason}"
    with pytest.raises(ModelNotStored) as not_stored:
        store_model(CONTENT, SCHEMA, "shop", "v3")
    assert str(not_stored.value).endswith(reason)
    file.unlink()
    assert str(find_model("shop").tag) == "shop:v2"
    assert store_model(CONTENT, SCHEMA, "shop", "v3") == ("shop:v3", True)


@pytest.mark.parametrize("tag", ["shop", "shop:latest"])
def test_once_the_latest_version_is_removed_the_damaged_one_before_it_is_named(store: Path, tag: str) -> None:
    store_model(CONTENT, SCHEMA, "shop0", "v0")
    for version in ("v1", "v2"):
        store_model(CONTENT, SCHEMA, "shop", version)
    damage(store / "shop" / "v1", None)
    damage(store / "shop0" / "v0", None)
    model_store.remove("shop:v2")
    with pytest.raises(ModelUnusable) as refused:
        find_model(tag)
    assert str(refused.value) == f"Model {tag} cannot be served: the model.yaml of shop:v1 {REMEDY}"


def test_of_several_damaged_versions_the_latest_is_named(store: Path) -> None:
    for version in ("v0", "v1"):
        store_model(CONTENT, SCHEMA, "shop", version)
    for version in ("v0", "v1"):
        damage(store / "shop" / version, None)
    with pytest.raises(ModelUnusable, match=f"the model.yaml of shop:v1 {REMEDY}"):
        find_model("shop")


def test_a_folder_whose_name_no_tag_has_hides_no_model(store: Path) -> None:
    store_model(CONTENT, SCHEMA, "carpets", "v1")
    damage(store / "Beds" / "v1", None)
    assert tags_of_all() == ["carpets:v1"]


def test_a_store_that_cannot_be_written_is_named_with_what_to_do(store: Path) -> None:
    store_model(CONTENT, SCHEMA, "shop", "v1")
    (store / ".ranker-import.lock").unlink()
    (store / ".ranker-import.lock").mkdir()
    remedy = r"cannot be {}: \[Errno 21\] Is a directory: .* Give {} room and let this user write there"
    with pytest.raises(ModelNotStored, match=remedy.format("stored", f"{store} and {tempfile.gettempdir()}")):
        store_model(CONTENT, SCHEMA, "shop", "v2")
    with pytest.raises(ModelNotRemoved, match=remedy.format("removed", store)):
        model_store.remove("shop:v1")
    assert tags_of_all() == ["shop:v1"]


def test_a_store_that_cannot_be_read_is_named_with_what_to_do(store: Path) -> None:
    with temporary_model_store(store / "absent"), pytest.raises(ModelUnusable) as refused:
        list_models()
    assert f"] No such file or directory: '{store}/absent'. Let this user read the model store" in str(refused.value)
