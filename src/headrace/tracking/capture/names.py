"""Files that their name says hold secrets, or settings."""

from __future__ import annotations

import fnmatch

_FOLDERS = frozenset((".ssh", ".aws", ".azure", ".gnupg", ".kube", ".docker", ".gcloud"))
_NAMES = frozenset(
    (".env", ".envrc", ".netrc", "_netrc", ".pgpass", ".my.cnf", ".pypirc", ".npmrc", ".yarnrc", ".htpasswd",
     ".git-credentials", ".dockercfg", ".boto", ".s3cfg", "kaggle.json", "auth.json", "token", "token.txt",
     "token.json", "tokens.json", "passwd", "secret", "secrets", "credentials", "credential", "password", "passwords")
)  # fmt: skip
_ENDINGS = (
    ".env", ".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk", ".ovpn", ".tfstate",
    ".tfvars", ".asc", ".gpg", ".age", ".secret", ".secrets",
)  # fmt: skip
_PATTERNS = (
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*credentials.*", "*credential.*", "*client_secret*",
    "*client-secret*", "secret.*", "secrets.*", "password.*", "passwords.*", "*service-account*.json",
    "*service_account*.json", "*serviceaccount*.json", "*api_key.*", "*api_keys.*", "*apikey.*", "*api-key.*",
    ".env.*",
)  # fmt: skip
#: Shown to others on purpose.
_PUBLIC = (".pub", ".example", ".sample", ".template", ".dist")
_CONFIG = (
    ".yaml", ".yml", ".ini", ".cfg", ".conf", ".properties", ".toml", ".json", ".txt", ".sh", ".env", ".envrc",
)  # fmt: skip


def is_secret_name(path: str) -> bool:
    """Whether a file's name, or a folder that it is in, says that it holds secrets."""
    *folders, name = path.lower().split("/")
    if not _FOLDERS.isdisjoint(folders):
        return True
    if name.endswith(_PUBLIC):
        return False
    return (
        name in _NAMES
        or name.endswith(_ENDINGS)
        or any(fnmatch.fnmatchcase(name, pattern) for pattern in _PATTERNS)
    )


def is_config_name(path: str) -> bool:
    """Whether a file holds settings rather than code."""
    return path.lower().endswith(_CONFIG)
