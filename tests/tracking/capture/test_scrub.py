"""Secrets are taken out by their patterns."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.tracking.capture.names import is_secret_name
from headrace.tracking.capture.scrub import (
    scrub,
    scrub_arguments,
    scrub_text,
    scrub_values,
    secret_values,
)

# Put together here, so that no scanner takes this file for a leak.
A = "a1B2" * 16
JWT = f"eyJ{A[:20]}.eyJ{A[:30]}.{A[:43]}"
KEY = f"-----BEGIN RSA {'PRIVATE'} KEY-----\nMIIE{A}\n{A}\n\n{A[:12]}==\n-----END RSA {'PRIVATE'} KEY-----\n"
TOKENS = {
    "aws-key": "AKIA" + "Q7" * 8,
    "github-token": "ghp_" + A[:36],
    "gitlab-token": "glpat-" + A[:20],
    "huggingface-token": "hf_" + "aB" * 17,
    "anthropic-key": "sk-ant-api03-" + A,
    "openai-key": "sk-proj-" + A,
    "stripe-key": "sk_live_" + A[:24],
    "slack-token": "xoxb-" + "1" * 12 + "-" + A[:24],
    "google-key": "AIza" + A[:35],
    "google-token": "GOCSPX-" + A[:28],
    "npm-token": "npm_" + A[:36],
    "pypi-token": "pypi-" + A,
    "sendgrid-key": f"SG.{A[:22]}.{A[:43]}",
    "jwt": JWT,
}


@pytest.mark.parametrize(("kind", "token"), TOKENS.items())
@pytest.mark.parametrize(
    "line", ["{}", "-{}", "+{}", "x = '{}'\n", 'curl -H "X: {}" host\n', "a,{},b", "é{}"]
)
def test_tokens_are_replaced_wherever_they_stand(kind: str, token: str, line: str) -> None:
    counts: Counter[str] = Counter()
    before = f"diff --git a/x b/x\n{line}"
    after = scrub(before.format(token).encode(), counts).decode()
    assert after == before.format(f"[scrubbed:{kind}]")
    assert counts == {kind: 1}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("password = 'hunter2!'", "password = '[scrubbed:password]'"),
        ('+  db_password: "correct horse"', '+  db_password: "[scrubbed:password]"'),
        (f'{{"client_secret": "{A[:20]}"}}', '{"client_secret": "[scrubbed:secret]"}'),
        (f"AWS_SECRET_ACCESS_KEY={A[:38]}/+", "AWS_SECRET_ACCESS_KEY=[scrubbed:secret]"),
        (f"api_key: str = '{A[:16]}',", "api_key: str = '[scrubbed:secret]',"),
        (f"os.environ['HF_TOKEN'] = f'{A[:16]}'", "os.environ['HF_TOKEN'] = f'[scrubbed:secret]'"),
        (f"Authorization: Bearer {A[:24]}", "Authorization: Bearer [scrubbed:bearer-token]"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [scrubbed:basic-login]"),
        ("postgresql://me:s3cret@db/x", "postgresql://[scrubbed:url-login]@db/x"),
        ("https://hooks.slack.com/services/T000/B000/" + A[:24], "https://hooks.slack.com/[scrubbed:slack-webhook]"),
        (f"https://oauth2:{TOKENS['gitlab-token']}@host/x.git", "https://oauth2:[scrubbed:gitlab-token]@host/x.git"),
    ],
)  # fmt: skip
def test_values_of_names_and_urls_are_replaced(before: str, after: str) -> None:
    assert scrub_text(before) == after


@pytest.mark.parametrize(
    "text",
    [
        "password = getpass()",
        "password: str",
        "password: Optional[str] = None",
        "connect(password=args.password, token=config.token)",
        "password = os.environ['PASSWORD']",
        'password = "<your password>"',
        "PASSWORD=$PASSWORD",
        "if token == tokenizer.eos_token:",
        "tokenizer = AutoTokenizer.from_pretrained('bert-base-uncased')",
        "max_tokens = 4096",
        "token: '<|endoftext|>'",
        "pad_token = '[PAD]'",
        "key = 'learning_rate'",
        "sort(key=lambda one: one.value)",
        "class sk-toggleable__label-arrow",
        "task-0123456789abcdefghij",
        'url = f"postgresql://{user}:{password}@{host}/x"',
        "https://user:***@host/x",
        "see http://host:8080/a@b",
        "def secret(): return None",
        f"commit {'0123456789abcdef' * 2}",
    ],
)
def test_code_that_only_speaks_of_secrets_stays_as_it_is(text: str) -> None:
    counts: Counter[str] = Counter()
    assert scrub(text.encode(), counts).decode() == text
    assert not counts


def test_in_settings_a_word_without_quotes_is_a_value() -> None:
    assert scrub(b"password: correcthorse\n", config=True) == b"password: [scrubbed:password]\n"
    assert scrub(b"password: correcthorse\n") == b"password: correcthorse\n"


@pytest.mark.parametrize("sign", ["", "+", "-", " "])
def test_a_private_key_goes_line_by_line(sign: str) -> None:
    text = f"before\n{KEY}after\n"
    patch = "".join(f"{sign}{line}\n" for line in text.splitlines())
    scrubbed = scrub(patch.encode()).decode()
    assert A[:8] not in scrubbed
    assert len(scrubbed.splitlines()) == len(patch.splitlines())
    assert [line[:1] for line in scrubbed.splitlines()] == [
        line[:1] if sign else new[:1]
        for line, new in zip(patch.splitlines(), scrubbed.splitlines(), strict=True)
    ]
    assert f"{sign}before" in scrubbed
    assert f"{sign}after" in scrubbed


def test_a_private_key_on_one_line_and_one_that_was_cut() -> None:
    line = f"key = {KEY!r}; more\n"
    assert scrub(line.encode()).decode() == "key = '[scrubbed:private-key]\\n'; more\n"
    cut = KEY[: KEY.index("-----END")] + "def more():\n    pass\n"
    assert scrub(cut.encode()).endswith(b"def more():\n    pass\n")
    assert A[:8].encode() not in scrub(cut.encode())


SECRETS = [*TOKENS.values(), "password='hunter2!'", "https://me:s3cret@host", KEY]
FRAGMENTS = [
    *SECRETS, *(one[:8] for one in SECRETS), *(one[:-1] for one in SECRETS), "eyJ", "eyJa.", "eyJa1B2c3D4.eyJ", "-", "+", "\n",
    "\n+", "://", "://a:", "@", "password", "password=", "token:", "secret_key=", "key", "'", '"', "\\", " ", "\t", "=", "a", "A1",
    "é", "-----BEGIN PRIVATE KEY-----", "-----END", "SG.", "bearer ", "sk-", "xoxb-", "[scrubbed:", "]", "diff --git a/x b/x\n",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=30))
def test_lines_stay_lines(parts: list[str]) -> None:
    before = "".join(parts).encode()
    assert scrub(before).count(b"\n") == before.count(b"\n")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=4), st.sampled_from(["", "\n", " "])
)
def test_long_hostile_texts_take_no_longer_than_their_length(parts: list[str], end: str) -> None:
    # With a pattern that backtracks, one of these would keep the test from ending.
    unit = "".join(parts)
    scrub((unit * (400_000 // len(unit)) + end).encode())


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30).map(
        lambda one: f"{one} "
    ),
    st.sampled_from(sorted(TOKENS.values())),
    st.integers(0, 140_000),
)
def test_a_token_is_found_at_every_place_of_a_long_text(text: str, token: str, place: int) -> None:
    filler = "word and line\n" * 10_000
    found = scrub(f"{filler[:place]} {token} {text}{filler[place:]}".encode())
    assert token.encode() not in found


def test_option_values_are_hidden_and_the_rest_of_the_command_is_kept() -> None:
    assert scrub_arguments(
        ["python", "train.py", "--password", "x", "--api-key=y", "db.password=z", "--token", "--lr", "0.1", "--max-tokens", "5"]
    ) == [
        "python", "train.py", "--password", "[scrubbed:option]", "--api-key=[scrubbed:option]",
        "db.password=[scrubbed:option]", "--token", "--lr", "0.1", "--max-tokens", "5",
    ]  # fmt: skip


def test_values_of_secret_variables_are_found_anywhere() -> None:
    values = secret_values(
        {"MY_TOKEN": "abcdefghijkl", "DB_PASSWORD": "short", "HOME": "/home/somebody"}
    )
    counts: Counter[str] = Counter()
    assert scrub_values(b"short abcdefghijkl", values, counts) == b"short [scrubbed:environment]"
    assert counts == {"environment": 1}


@pytest.mark.parametrize(
    "path",
    [".env", "a/.env.local", "x.pem", "id_rsa", "keys/id_ed25519.bak", "credentials.json", "my-credentials.yml", ".aws/credentials",
     ".ssh/config", "secrets.toml", ".netrc", "kaggle.json", "service-account-x.json", "client_secret_1.json", "API_KEYS.txt", "terraform.tfstate"],
)  # fmt: skip
def test_names_of_secret_files(path: str) -> None:
    assert is_secret_name(path)


@pytest.mark.parametrize(
    "path",
    ["train.py", ".env.example", "tokenizer.json", "id_rsa.pub", "keys.py", "environment.yml", "secretary.py", "tests/test_auth.py", "public.txt"],
)  # fmt: skip
def test_names_of_other_files(path: str) -> None:
    assert not is_secret_name(path)
