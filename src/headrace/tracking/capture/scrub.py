"""Takes secrets out of what is captured, by their patterns.

It is a net, not a proof: what looks like a password is replaced by ``[scrubbed:password]``, what looks
like nothing cannot be told from other text. Time is linear in the length of the text, whatever it holds:
every pattern is either bounded in length, or starts where no match before it can have started and gives
nothing back (possessive quantifiers). Text is bytes, so that nothing must be decodable, and is taken in
pieces, so that other threads get their turn between them.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

#: Scrubs of each kind, such as ``{"aws-key": 2}``.
Counts = Counter[str]

_PIECE = 64 << 10
_LONGEST_PIECE = 1 << 20
_MARK = b"[scrubbed:"

# Where a token can begin: not within a word or a number of hyphens, but after a patch's sign.
_START = rb"(?:(?<![A-Za-z0-9_-])|(?<=\n[-+]))"

#: Kind, texts of which one must be there for the pattern to be worth a try, pattern.
_TOKENS: tuple[tuple[str, tuple[bytes, ...], bytes], ...] = (
    ("aws-key", (b"AKIA", b"ASIA", b"ABIA", b"ACCA"),
     rb"(?<![A-Za-z0-9])A(?:KIA|SIA|BIA|CCA)[0-9A-Z]{16}(?![0-9A-Za-z])"),
    ("github-token", (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"),
     rb"gh[pousr]_[A-Za-z0-9]{30,}+"),
    ("github-token", (b"github_pat_",), rb"github_pat_[A-Za-z0-9_]{22,}+"),
    ("gitlab-token", (b"glpat-", b"gldt-", b"glrt-", b"glcbt-", b"glptt-", b"glft-", b"glimt-", b"glagent-", b"gloas-", b"glsoat-"),
     rb"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat)-[A-Za-z0-9_-]{20,}+"),
    ("huggingface-token", (b"hf_",), rb"(?<![A-Za-z0-9])(?:api_org_|hf_)[A-Za-z0-9]{30,}+"),
    ("anthropic-key", (b"sk-ant-",), _START + rb"sk-ant-[A-Za-z0-9_-]{20,}+"),
    ("openai-key", (b"sk-",),
     _START + rb"sk-(?:(?:proj|svcacct|admin|None|or-v1)-[A-Za-z0-9_-]{20,}+|[A-Za-z0-9]{20,}+)"),
    ("stripe-key", (b"k_live_", b"k_test_"), rb"(?<![A-Za-z0-9])[srp]k_(?:live|test)_[A-Za-z0-9]{16,}+"),
    ("slack-token", (b"xox", b"xapp-"), rb"xox[abeoprs]-[A-Za-z0-9-]{10,}+|xapp-[0-9]-[A-Za-z0-9-]{10,}+"),
    ("slack-webhook", (b"hooks.slack.com",), rb"(?<=hooks\.slack\.com/)services/[A-Za-z0-9/]{20,}+"),
    ("google-key", (b"AIza",), _START + rb"AIza[0-9A-Za-z_-]{35}"),
    ("google-token", (b"GOCSPX-", b"ya29."), rb"GOCSPX-[A-Za-z0-9_-]{20,}+|ya29\.[A-Za-z0-9_-]{20,}+"),
    ("npm-token", (b"npm_",), rb"npm_[A-Za-z0-9]{36}"),
    ("pypi-token", (b"pypi-",), rb"pypi-[A-Za-z0-9_-]{50,}+"),
    ("sendgrid-key", (b"SG.",), rb"(?<![A-Za-z0-9])SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,}+"),
    ("azure-key", (b"AccountKey=", b"SharedAccessKey="), rb"(?<=Key=)[A-Za-z0-9+/=]{40,}+"),
    ("jwt", (b"eyJ",),
     _START + rb"eyJ[A-Za-z0-9_-]{8,}+\.eyJ[A-Za-z0-9_-]{8,}+(?:\.[A-Za-z0-9_-]*+)?"),
    ("bearer-token", (b"earer ", b"EARER "), rb"(?i:(?<=\bbearer ))[A-Za-z0-9._~+/=-]{20,512}+"),
    ("basic-login", (b"asic ", b"ASIC "), rb"(?i:(?<=authorization: basic ))[A-Za-z0-9+/=]{8,512}+"),
)  # fmt: skip

_URL_LOGIN = rb"(?<=://)([^\s/:@\"'`<>\\]{0,200}):([^\s/\"'`<>]{1,300})@"

# A name that ends in a word for a secret gets a value.
_PASSWORDS = (b"password", b"passwd", b"passphrase", b"pwd")
_SECRETS = (b"secret", b"token", b"key", b"credential", b"credentials")
#: There are keys of many kinds; these open something.
_KEY_KINDS = tuple(
    kind + joint
    for kind in (b"api", b"access", b"account", b"auth", b"private", b"secret", b"encryption", b"signing")
    for joint in (b"", b"_", b"-")
)  # fmt: skip
_VALUE = (
    rb"(?![A-Za-z0-9])\\?[\"']?\]?[ \t]{0,8}"
    rb"(?::[ \t]{0,4}(?:str|String|bytes)[ \t]{0,4})?(?:=>|:=|==|=|:)[ \t]{0,8}(?:[rbufRBUF]{1,2}(?=[\"']))?"
    rb"(?:\\?(\"{3}|'{3}|[\"'`])([^\n\"'`\\]{6,400})|([^\s\"'`,;()\[\]{}<>\\&|]{6,400}))"
)
_PLACEHOLDER = (
    rb"(?i:[*x._-]+|your[_-].*|my[_-]?(?:password|secret|token|key)|<.*|\$.*|%\(.*|%[sdr].*|\{.*|"
    rb"\[.*|none|null|true|false|undefined|optional|required|password|passwd|secret|token|"
    rb"change[_-]?me|example.*|placeholder|redacted|dummy.*|https?://.*)"
)
_NAME = rb"[A-Za-z_][A-Za-z_0-9]*+(?:\.[A-Za-z_][A-Za-z_0-9]*+)*+[:,;]?"
_NUMBER = rb"[-+0-9.eE_]+"

_BEGIN = rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
_END = rb"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
# A line of a key: base64 or a header, with what quotes, comments and patches put around it.
_KEY_LINE = rb"[-+ ]?[\s\"'#*/+\\n,]{0,40}[A-Za-z0-9+/=]*+(?:: ?[ -~]{0,200})?[\\n\s\"',+]{0,16}"

#: What the name of an option or a variable ends in when its value is secret.
_SECRET_ENDINGS = (
    "password", "passwd", "passphrase", "pwd", "secret", "token", "credential", "credentials", "apikey",
    "api-key", "access-key", "private-key", "secret-key", "account-key", "auth-key",
)  # fmt: skip

compiled = functools.cache(
    re.compile
)  # when it is needed: compiling all takes longer than most captures


def scrub(data: bytes, counts: Counts | None = None, *, config: bool = False) -> bytes:
    """Text without what looks like a secret.

    Lines stay lines, so a scrubbed patch is still a patch; it applies if the secrets were only added.

    Args:
        data: Text in any encoding that contains ASCII.
        counts: Counts the scrubs by their kind.
        config: The text is a settings file, where ``password: word`` is a value, not a type.
    """
    counts = Counter() if counts is None else counts
    keys = _Keys(counts)
    return b"".join(_tokens(keys.scrub(piece), counts, config) for piece in _pieces(data))


def scrub_text(text: str, counts: Counts | None = None) -> str:
    """As `scrub`, for a text."""
    return scrub(text.encode("utf-8", "surrogateescape"), counts).decode("utf-8", "surrogateescape")


def scrub_values(data: bytes, values: Mapping[str, bytes], counts: Counts) -> bytes:
    """Text without values that are known to be secret, whatever they look like; see `secret_values`."""
    for value in values.values():
        found = data.count(value)
        if found:
            counts["environment"] += found
            data = data.replace(value, _mark("environment"))
    return data


def secret_values(environment: Mapping[str, str]) -> dict[str, bytes]:
    """The values of environment variables with names such as ``WANDB_API_KEY``; short ones are left
    out, they would be found in words."""
    return {
        name: value.encode("utf-8", "surrogateescape")
        for name, value in environment.items()
        if len(value) >= 12
        and _says_secret(name)
        and "/" not in value[:1]
        and not compiled(_PLACEHOLDER).fullmatch(value.encode("utf-8", "surrogateescape"))
    }


def scrub_arguments(arguments: list[str], counts: Counts | None = None) -> list[str]:
    """A command line without secrets: what follows ``--password``, and what looks like one."""
    counts = Counter() if counts is None else counts
    scrubbed: list[str] = []
    hide_next = False
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if hide_next and not argument.startswith("--"):
            counts["option"] += 1
            scrubbed.append("[scrubbed:option]")
            hide_next = False
            continue
        hide_next = False
        if _says_secret(name):
            if equals and value:
                counts["option"] += 1
                scrubbed.append(f"{name}=[scrubbed:option]")
                continue
            hide_next = not equals and name.startswith("-")
        scrubbed.append(scrub_text(argument, counts))
    return scrubbed


def _says_secret(name: str) -> bool:
    """Whether the name of an option or a variable says that its value is secret."""
    name = name.lower().replace("_", "-")
    return name.endswith(_SECRET_ENDINGS) or name == "--auth"


def _mark(kind: str) -> bytes:
    return _MARK + kind.encode() + b"]"


def _pieces(data: bytes) -> Iterator[bytes]:
    """The text in pieces that begin with a line break, or somewhere within a very long line."""
    start = 0
    while len(data) - start > _PIECE:
        end = data.find(b"\n", start + _PIECE, start + _LONGEST_PIECE)
        if end < 0:
            # Not within a token, if there is any other place.
            limit = min(start + _LONGEST_PIECE, len(data))
            end = max(data.rfind(one, start + _PIECE, limit) for one in (b" ", b",", b'"'))
            end = limit if end < 0 else end
        yield data[start:end]
        start = end
    yield data[start:]


def _tokens(piece: bytes, counts: Counts, config: bool) -> bytes:
    for kind, hints, pattern in _TOKENS:
        if any(hint in piece for hint in hints):
            piece, found = compiled(pattern).subn(_mark(kind), piece)
            if found:
                counts[kind] += found
    if b"://" in piece and b"@" in piece:
        piece = compiled(_URL_LOGIN).sub(_login_scrubber(counts), piece)
    return _assigned(piece, counts, config)


def _login_scrubber(counts: Counts) -> Callable[[re.Match[bytes]], bytes]:
    def replace(match: re.Match[bytes]) -> bytes:
        if compiled(_PLACEHOLDER).fullmatch(match[2]) or match[2].startswith(_MARK):
            return match[0]
        counts["url-login"] += 1
        return _mark("url-login") + b"@"

    return replace


def _assigned(piece: bytes, counts: Counts, config: bool) -> bytes:
    """A piece without the values that names such as ``db_password`` get. The names are looked for one by
    one: a search for fixed text is many times faster than one pattern for all."""
    lower = piece.lower()
    ends: dict[int, str] = {}
    for kind, words in (("password", _PASSWORDS), ("secret", _SECRETS)):
        for word in words:
            place = lower.find(word)
            while place >= 0:
                end = place + len(word)
                if word != b"key" or lower.endswith(_KEY_KINDS, max(0, place - 11), place):
                    ends[end] = kind
                place = lower.find(word, end)
    kept, done = [], 0
    for end in sorted(ends):
        match = compiled(_VALUE).match(piece, end) if end >= done else None
        if match is None:
            continue
        quote, quoted, bare = match.groups()
        value = quoted or bare
        if _MARK in value or not _plausible(ends[end], value, quote is not None, config):
            continue
        counts[ends[end]] += 1
        kept.append(piece[done : match.end() - len(value)] + _mark(ends[end]))
        done = match.end()
    kept.append(piece[done:])
    return b"".join(kept)


def _plausible(kind: str, value: bytes, quoted: bool, config: bool) -> bool:
    """Whether a value is a secret itself, not a name for one, a type or a placeholder."""
    if compiled(_PLACEHOLDER).fullmatch(value):
        return False
    password = kind == "password"
    if b" " in value and not (password and len(value) <= 64):
        return False  # a sentence
    mixed = any(48 <= one < 58 for one in value) and any(one >= 65 for one in value)
    if quoted:
        return password or (len(value) >= 8 and mixed) or len(value) >= 32
    if compiled(_NUMBER).fullmatch(value):
        return password and config
    if compiled(_NAME).fullmatch(value):  # a name of the program's, or a value without quotes
        return (config and (password or mixed)) or (
            mixed and len(value) >= 16 and b"." not in value
        )
    return (mixed and len(value) >= 8) or (config and password)


class _Keys:
    """Takes private keys out, line by line: a key may go on in the next piece."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._inside = False

    def scrub(self, piece: bytes) -> bytes:
        if not self._inside and b"-----BEGIN" not in piece:
            return piece
        return b"\n".join([self._line(line) for line in piece.split(b"\n")])

    def _line(self, line: bytes) -> bytes:
        kept = []
        place = 0
        while True:
            if self._inside:
                end = compiled(_END).search(line, place)
                if end:
                    kept.append(self._hidden(line, place))
                    self._inside, place = False, end.end()
                elif place or compiled(_KEY_LINE).fullmatch(line):
                    kept.append(self._hidden(line, place))
                    break
                else:
                    self._inside = False  # a key that was cut
            begin = compiled(_BEGIN).search(line, place)
            if not begin:
                kept.append(line[place:])
                break
            kept.append(line[place : begin.start()])
            self._counts["private-key"] += 1
            self._inside, place = True, begin.end()
        return b"".join(kept)

    def _hidden(self, line: bytes, place: int) -> bytes:
        # The first character may be the sign of a patch's line; an empty line tells nothing.
        if place:
            return _mark("private-key")
        if not line.strip():
            return line
        sign = line[:1] if line[:1] in b"+- " else b""
        return sign + _mark("private-key")
