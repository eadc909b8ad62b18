"""Our S3 signatures against those of obstore."""

from __future__ import annotations

import datetime
import urllib.parse

import obstore
import pytest
from obstore.store import S3Store

from headrace.artifacts.s3 import presign_s3


@pytest.mark.parametrize("path", ["plain.bin", "a b/ü?#+%.txt", "x=1&y~z"])
@pytest.mark.parametrize("token", [None, "session/token+="])
def test_a_url_is_signed_as_obstore_signs_it(path: str, token: str | None) -> None:
    store = S3Store(
        "bucket",
        prefix="pre fix",
        region="eu-west-1",
        access_key_id="AKID",
        secret_access_key="sec/ret+key",
        **({"session_token": token} if token else {}),
        endpoint="http://127.0.0.1:9",
        client_options={"allow_http": True},
    )
    expected = obstore.sign(store, "PUT", path, datetime.timedelta(seconds=77))
    url, _, query = expected.partition("?")
    stamp = urllib.parse.parse_qs(query)["X-Amz-Date"][0]
    ours = presign_s3(
        "PUT",
        url,
        {},
        access_key="AKID",
        secret_key="sec/ret+key",
        region="eu-west-1",
        token=token,
        expires=77,
        now=datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ"),
    )
    assert urllib.parse.parse_qs(ours.partition("?")[2]) == urllib.parse.parse_qs(query)
    assert ours.startswith(url + "?")
