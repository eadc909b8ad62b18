"""Addresses of models: what each names, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidParameter
from headrace.protocol.model_uris import Kind, ModelUri, parse_model_uri

MODEL_ID = "m-" + "0a" * 16
#: Names of registered models: MLflow forbids slashes and colons, nothing else.
NAMES = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/:@"), min_size=1
).filter(lambda name: name.strip() and name not in (".", "..") and not name.startswith("m-"))
WORDS = st.from_regex(r"[a-z][a-z0-9_\-]{0,20}", fullmatch=True).filter(
    lambda word: word != "latest"
)
PATHS = st.lists(WORDS, max_size=3).map("/".join)
NUMBERS = st.integers(1, 10**9).map(str)
URIS = st.one_of(
    st.builds(ModelUri, kind=st.just(Kind.VERSION), name=NAMES, version=NUMBERS, path=PATHS),
    st.builds(ModelUri, kind=st.just(Kind.ALIAS), name=NAMES, alias=WORDS, path=PATHS),
    st.builds(ModelUri, kind=st.just(Kind.STAGE), name=NAMES, stage=WORDS, path=PATHS),
    st.builds(ModelUri, kind=st.just(Kind.LATEST), name=NAMES, path=PATHS),
    st.builds(ModelUri, kind=st.just(Kind.LOGGED), model_id=st.just(MODEL_ID)),
    st.builds(ModelUri, kind=st.just(Kind.RUN), run_id=WORDS, path=PATHS),
    st.builds(ModelUri, kind=st.just(Kind.LOCATION), location=PATHS.map("s3://bucket/{}".format)),
)


@given(URIS)
def test_an_address_is_read_as_it_is_written(uri: ModelUri) -> None:
    assert parse_model_uri(str(uri)) == uri


@given(st.text(max_size=60) | st.text(max_size=40).map("models:/{}".format))
def test_any_text_is_an_address_or_refused_with_the_forms(text: str) -> None:
    try:
        parse_model_uri(text)
    except InvalidParameter as error:
        assert "models:/<name>/<version>" in error.message


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("models:/iris/3", ModelUri(kind=Kind.VERSION, name="iris", version="3")),
        ("models:/iris/3/data/x", ModelUri(kind=Kind.VERSION, name="iris", version="3", path="data/x")),
        ("models:/my model%20/3/", ModelUri(kind=Kind.VERSION, name="my model%20", version="3")),
        ("models:/what? #1/3", ModelUri(kind=Kind.VERSION, name="what? #1", version="3")),
        ("models:/iris@champion", ModelUri(kind=Kind.ALIAS, name="iris", alias="champion")),
        ("models:///iris/3", ModelUri(kind=Kind.VERSION, name="iris", version="3")),
        ("models:/a@b@c", ModelUri(kind=Kind.ALIAS, name="a@b", alias="c")),
        ("models:/a@b/3", ModelUri(kind=Kind.VERSION, name="a@b", version="3")),
        ("models:/iris@champion/data", ModelUri(kind=Kind.ALIAS, name="iris", alias="champion", path="data")),
        ("models:/iris/Production", ModelUri(kind=Kind.STAGE, name="iris", stage="Production")),
        ("models:/iris/Latest", ModelUri(kind=Kind.LATEST, name="iris")),
        (f"models:/{MODEL_ID}", ModelUri(kind=Kind.LOGGED, model_id=MODEL_ID)),
        ("runs:/abc/model/part", ModelUri(kind=Kind.RUN, run_id="abc", path="model/part")),
        ("mlflow-artifacts:/1/x", ModelUri(kind=Kind.LOCATION, location="mlflow-artifacts:/1/x")),
        ("C:\\models\\x", ModelUri(kind=Kind.LOCATION, location="C:\\models\\x")),
        ("a folder/x", ModelUri(kind=Kind.LOCATION, location="a folder/x")),
    ],
)  # fmt: skip
def test_what_an_address_names(text: str, uri: ModelUri) -> None:
    assert parse_model_uri(text) == uri


def test_paths_are_addresses(tmp_path: Path) -> None:
    assert parse_model_uri(tmp_path).location == str(tmp_path)
    assert parse_model_uri(tmp_path.as_uri()).location == tmp_path.as_uri()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("models:/", "no part of it may be empty"),
        ("models:iris/3", "a slash after the colon"),
        ("models:/iris", "models:/iris/latest"),
        ("models:/iris//3", "no part of it may be empty"),
        ("models:/iris/3/../x", "'..'"),
        ("models:/iris@", "models:/<name>@<alias>"),
        ("models:/@champion", "models:/<name>@<alias>"),
        ("models://databricks/iris/3", "names a host"),
        ("runs:/", "no part of it may be empty"),
        ("runs://profile@databricks/abc/model", "names a host"),
        ("dbfs:/models/x", "'dbfs:' is unknown"),
        ("https://example.org/model", "'https:' is unknown"),
        ("models:/a\x00b/3", "control characters"),
        ("x" * 5000, "4096"),
    ],
)
def test_what_is_no_address_is_told_why(text: str, why: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_model_uri(text)
    assert why in caught.value.message


def test_a_name_may_be_decoded() -> None:
    uri = parse_model_uri("models:/my%20model/3")
    assert uri.decoded is not None
    assert uri.decoded.name == "my model"
    assert parse_model_uri("models:/my model/3").decoded is None
