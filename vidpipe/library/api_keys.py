"""API keys and the sessions of browsers that signed in with one. Both are stored as hashes.

A key is random (256 bits), so that its plain SHA-256 cannot be reversed.
"""

import hashlib
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast, get_args

from vidpipe.library import server_clock
from vidpipe.library.schema import Collections

Scope = Literal["read", "write", "admin"]
#: Each scope includes those before it.
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "vidpipe_"
SESSION_DAYS = 30.0
_STORED = ("name", "scope", "created_at", "expires_at", "last_used")
#: `last_used` is written at most this often.
_USED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class ApiKey:
    """A key, without its secret.

    Attributes:
        id: Names it in `vidpipe keys`.
        name: What it is for.
        scope: What it allows.
        created_at: When it was made.
        expires_at: When it stops being valid; None: never.
        last_used: Roughly when it was used last; None: never.
    """

    id: str
    name: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None = None
    last_used: datetime | None = None

    def allows(self, scope: Scope) -> bool:
        """Return whether it has `scope`."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


class ApiKeys:
    """The keys of a library."""

    def __init__(self, collections: Collections) -> None:
        self._keys = collections["keys"]
        self._sessions = collections["sessions"]

    def create(self, name: str, scope: Scope, expires_at: datetime | None = None) -> tuple[ApiKey, str]:
        """Return a new key and its secret, which is not stored and cannot be shown again."""
        secret = PREFIX + secrets.token_urlsafe(32)
        key = ApiKey(uuid.uuid4().hex[:8], name, scope, server_clock.now(), expires_at)
        stored = {field: getattr(key, field) for field in _STORED}
        self._keys.insert_one({"_id": key.id, "hash": _hashed(secret), **stored})
        return key, secret

    def all(self) -> Iterator[ApiKey]:
        """Yield the keys, oldest first."""
        for row in self._keys.find().sort("created_at", 1):
            yield _key(row)

    def revoke(self, id: str) -> bool:
        """Delete a key and its sessions, and return whether there was one."""
        self._sessions.delete_many({"key": id})
        return self._keys.delete_one({"_id": id}).deleted_count > 0

    def of_secret(self, secret: str) -> ApiKey | None:
        """Return the valid key with this secret."""
        return self._valid(self._keys.find_one({"hash": _hashed(secret)})) if secret.startswith(PREFIX) else None

    def sign_in(self, key: ApiKey) -> str:
        """Return the secret of a new session with the rights of `key`."""
        secret = secrets.token_urlsafe(32)
        ends_at = server_clock.now() + timedelta(days=SESSION_DAYS)
        self._sessions.insert_one({"_id": _hashed(secret), "key": key.id, "ends_at": ends_at})
        return secret

    def of_session(self, secret: str) -> ApiKey | None:
        """Return the valid key that a session was begun with."""
        session = self._sessions.find_one({"_id": _hashed(secret), "ends_at": {"$gt": server_clock.now()}})
        return self._valid(self._keys.find_one({"_id": session["key"]})) if session else None

    def sign_out(self, secret: str) -> None:
        """End a session."""
        self._sessions.delete_one({"_id": _hashed(secret)})

    def _valid(self, row: dict[str, Any] | None) -> ApiKey | None:
        if row is None:
            return None
        key, now = _key(row), server_clock.now()
        if key.expires_at is not None and key.expires_at <= now:
            return None
        if key.last_used is None or now - key.last_used > _USED_EVERY:
            self._keys.update_one({"_id": key.id}, {"$set": {"last_used": now}})
        return key


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(row: dict[str, Any]) -> ApiKey:
    return ApiKey(row["_id"], **{name: cast(Any, row.get(name)) for name in _STORED})
