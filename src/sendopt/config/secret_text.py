"""Detection of secrets in settings, by key and by value. A value that is a secret must not be repeated in messages."""

from __future__ import annotations

import re

SECRET_KEY = re.compile(
    r"passw(or)?d|passphrase|secret|token|credential|(access|account|api|private|shared)[._-]?key|\bsas\b|\bpwd\b",
    re.IGNORECASE,
)
# Keys of a class, a file or a switch that handles a secret; they hold no secret.
_NO_SECRET = re.compile(r"provider|(enabled|file|path|dir|class)$", re.IGNORECASE)

_WORD = r"passw(?:or)?d|passphrase|pwd|secret|token|credential|api[._-]?key|(?:access|account|private|shared)[\w.-]*key"
_VALUES = (
    # A password in an address: anything between a colon and an @, unless it is a port and a path.
    (re.compile(r"://[^/\s:@?#]*:(?!\d{1,5}/)[^\s]*@"), "a password"),
    (re.compile(r"^[^/\s:@]+:[^/\s@]+@[\w.-]+"), "a password"),
    (re.compile(rf"(?:{_WORD})[\w.-]*[\"']?\s*[=:]\s*[^\s;&]", re.IGNORECASE), "a password or key"),
    (re.compile(r"[?&;](?:sig|signature|x-amz-signature|x-amz-security-token)=", re.IGNORECASE), "a signature"),
    (re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}"), "an access key"),
    (re.compile(r"\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), "a token"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}"), "a token"),
    (
        re.compile(
            r"\b(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|xox[abeoprs]-[\w-]{8,}"
            r"|dapi[0-9a-f]{24,}|[rs]k_live_\w{10,}|hf_[A-Za-z0-9]{20,}|ya29\.[\w-]{8,}|AIza[\w-]{30,}|SG\.[\w-]{12,}\.)"
        ),
        "a token",
    ),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"), "a private key"),
    (re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{86}=="), "an account key"),
    (re.compile(r"^(?=.*[a-z])(?=.*[A-Z])(?=.*\d)[A-Za-z0-9/+]{40}$"), "an access key"),
)


def secret_in(value: str) -> str | None:
    """Return the kind of secret that a value holds, like "a password" or "a token"; None where it seems to hold none.

    >>> [secret_in(v) for v in ("https://ann:pw1@host/db", "AKIAIOSFODNN7EXAMPLE", "https://host:443/db")]
    ['a password', 'an access key', None]
    """
    return next((what for pattern, what in _VALUES if pattern.search(value)), None)


def is_secret_key(key: str) -> bool:
    """Return True where the name of a property says that its value is a secret."""
    return bool(SECRET_KEY.search(key)) and not _NO_SECRET.search(key)
