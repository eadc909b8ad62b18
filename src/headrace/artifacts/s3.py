"""Multipart uploads of S3 by presigned URLs, which obstore does not offer.

Signatures are AWS's version 4 with everything in the query:
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import os
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import httpx

from headrace.artifacts.store import Part, PartTarget, multipart_unsupported
from headrace.errors import InvalidParameter, NotFound, Unavailable

#: Seconds for which the URLs that this process itself uses are signed.
_BRIEF = 300


def presign_s3(
    method: str,
    url: str,
    query: Mapping[str, str],
    *,
    access_key: str,
    secret_key: str,
    region: str,
    token: str | None = None,
    expires: int,
    now: datetime.datetime | None = None,
) -> str:
    """A URL that carries its own signature.

    Args:
        method: HTTP method.
        url: The object's URL, path percent-encoded, without a query.
        query: Further parameters to sign, such as ``uploadId``.
        access_key: AWS access key id.
        secret_key: AWS secret access key.
        region: AWS region.
        token: Session token of temporary credentials.
        expires: Seconds for which it works.
        now: Time of signing; default: now.
    """
    moment = now or datetime.datetime.now(datetime.UTC)
    stamp = moment.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    split = urllib.parse.urlsplit(url)
    signed = {
        **query,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{access_key}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(expires),
        "X-Amz-SignedHeaders": "host",
    }
    if token:
        signed["X-Amz-Security-Token"] = token
    canonical_query = "&".join(
        f"{_quote(name)}={_quote(value)}" for name, value in sorted(signed.items())
    )
    canonical = (
        f"{method}\n{split.path}\n{canonical_query}\nhost:{split.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(
        key, f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}".encode(), "sha256"
    ).hex()
    return f"{url}?{canonical_query}&X-Amz-Signature={signature}"


def _quote(text: str) -> str:
    return urllib.parse.quote(text, safe="-_.~")


class S3Multipart:
    """The four requests of a multipart upload.

    Args:
        uri: The store, for messages.
        sign_put: Presigns a PUT of a path as obstore does. Its URL tells where the object lies, the
            region and the access key in use, so that the rest of the configuration is read once.
    """

    def __init__(self, uri: str, sign_put: Callable[[str], str]) -> None:
        self._uri = uri
        self._sign_put = sign_put

    def start(self, path: str, count: int, expires: int) -> tuple[str, list[PartTarget]]:
        document = self._request("POST", path, {"uploads": ""})
        upload_id = document.findtext(".//{*}UploadId")
        if not upload_id:
            raise Unavailable(f"{self._uri} gave no id for a multipart upload of '{path}'.")
        sign = self._signer(path)
        targets = [
            PartTarget(
                part_number=number,
                url=sign("PUT", {"partNumber": str(number), "uploadId": upload_id}, expires),
            )
            for number in range(1, count + 1)
        ]
        return upload_id, targets

    def complete(self, path: str, upload_id: str, parts: Sequence[Part]) -> None:
        body = "".join(
            f"<Part><PartNumber>{part.part_number}</PartNumber><ETag>{escape(part.etag)}</ETag></Part>"
            for part in sorted(parts, key=lambda part: part.part_number)
        )
        self._request(
            "POST",
            path,
            {"uploadId": upload_id},
            f"<CompleteMultipartUpload>{body}</CompleteMultipartUpload>",
        )

    def abort(self, path: str, upload_id: str) -> None:
        try:
            self._request("DELETE", path, {"uploadId": upload_id})
        except NotFound:
            return

    def _signer(self, path: str) -> Callable[[str, Mapping[str, str], int], str]:
        url, _, query = self._sign_put(path).partition("?")
        known = dict(urllib.parse.parse_qsl(query))
        access_key, _, region = known.get("X-Amz-Credential", "//").split("/")[:3]
        secret_key = os.environ.get("AWS_SECRET_ACCESS_KEY")
        if not secret_key or access_key != os.environ.get("AWS_ACCESS_KEY_ID"):
            # Credentials of a machine's role stay inside obstore; it signs whole objects only.
            raise multipart_unsupported(self._uri)

        def sign(method: str, parameters: Mapping[str, str], expires: int) -> str:
            return presign_s3(
                method,
                url,
                parameters,
                access_key=access_key,
                secret_key=secret_key,
                region=region,
                token=known.get("X-Amz-Security-Token"),
                expires=expires,
            )

        return sign

    def _request(
        self, method: str, path: str, query: Mapping[str, str], body: str = ""
    ) -> ElementTree.Element:
        url = self._signer(path)(method, query, _BRIEF)
        try:
            response = httpx.request(
                method, url, content=body.encode(), timeout=60, verify=not ignore_tls()
            )
        except httpx.HTTPError as error:
            raise Unavailable(f"{self._uri} did not answer: {error}.") from error
        try:
            document = ElementTree.fromstring(response.content or b"<none/>")
        except ElementTree.ParseError:
            document = ElementTree.Element("none")
        # Completion may answer 200 and then say in its body that it failed.
        code = document.findtext("{*}Code") if document.tag.endswith("Error") else None
        if code is None and response.is_success:
            return document
        message = document.findtext("{*}Message") or f"HTTP {response.status_code}"
        if code == "NoSuchUpload" or response.status_code == 404:
            raise NotFound(f"No multipart upload of '{path}' is under way: {message}")
        if code in ("InvalidPart", "InvalidPartOrder", "EntityTooSmall", "MalformedXML"):
            raise InvalidParameter(f"The parts of '{path}' do not fit: {message}")
        raise Unavailable(f"{self._uri} refused a multipart upload of '{path}': {message}")


def ignore_tls() -> bool:
    """Whether MLflow's variable says that S3's certificate need not be valid."""
    return os.environ.get("MLFLOW_S3_IGNORE_TLS", "").lower() in ("1", "true")
