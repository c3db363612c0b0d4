# SPDX-License-Identifier: Apache-2.0
"""Signing keys of the service and the pinned ring of their public halves.

Four uses, each with keys of its own: ``result`` (attestation results),
``custody`` (documents), ``approval`` (TPM policies) and, in a cloud that has
it, ``tls`` (certificates of hosts' streams). A key pinned for one use never
verifies another; the ring refuses a key that is listed twice.

keys.json::

    {"version": 1, "cloud": "<uuid>",
     "result": [{"kid": "<16 hex>", "pem": "...", "state": "active"}],
     "custody": [...], "approval": [...],
     "tls": [{"kid": ..., "pem": ..., "certificate": "..."}]}

``state`` is "active" if it is left out. One key of each use can be that:

===========  ======  ========================================================
state        counts  signs
===========  ======  ========================================================
active       yes     all that is new
verify-only  yes     nothing, but an approval key approves that hosts open
                     the servers' keys that rest under it
revoked      no      nothing
===========  ======  ========================================================
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from korora_nova import errors
from korora_nova.rats import schemas
from korora_nova.rats.words import Word
from korora_nova.rats.x509 import stream
from korora_nova.rats.x509.certificate import spki

#: Uses of which each cloud has keys.
USES = ('result', 'custody', 'approval')
#: Signs the certificates with which hosts stream; agents of releases that do
#: not know it refuse a file that has it.
TLS = 'tls'
ALL_USES = (*USES, TLS)


class State(Word):
    """What a key is good for; see the table above."""

    ACTIVE = 'active'
    VERIFY_ONLY = 'verify-only'
    REVOKED = 'revoked'


def key_id(public: ec.EllipticCurvePublicKey) -> str:
    """First 16 hex digits of SHA-256 over the SubjectPublicKeyInfo."""
    return hashlib.sha256(spki(public)).hexdigest()[:16]


def _bad(message: str) -> errors.Unavailable:
    return errors.Unavailable(errors.Reason.KEYS_INVALID, message)


@dataclasses.dataclass(frozen=True, repr=False)
class SigningKey:
    """A P-256 private key and its id. Its repr shows the id only."""

    kid: str
    private: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f'<SigningKey {self.kid}>'

    @property
    def public(self) -> ec.EllipticCurvePublicKey:
        return self.private.public_key()

    @classmethod
    def generate(cls) -> SigningKey:
        """Draw a new key from the operating system's randomness."""
        private = ec.generate_private_key(ec.SECP256R1())
        return cls(key_id(private.public_key()), private)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SigningKey:
        """Read an unencrypted PEM (PKCS #8) file.

        :raises Unavailable: KEYS_INVALID, missing or not a P-256 key.
        """
        try:
            with open(path, 'rb') as stream:
                private = serialization.load_pem_private_key(
                    stream.read(), None
                )
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise _bad(
                f'cannot read the private key {path}: {type(exc).__name__}'
            ) from None
        if not isinstance(private, ec.EllipticCurvePrivateKey) or not (
            isinstance(private.curve, ec.SECP256R1)
        ):
            raise _bad(f'the private key {path} is not on P-256')
        return cls(key_id(private.public_key()), private)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a new PEM file, mode 0600, whole or not at all.

        :raises FileExistsError: the file exists; it is kept.
        """
        pem = self.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        with _created(path, 0o600) as file:
            file.write(pem)


@contextlib.contextmanager
def _created(path: str | os.PathLike[str], mode: int) -> Iterator[IO[bytes]]:
    """A new file, gone again unless all of it was written."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    stream = os.fdopen(os.open(path, flags, mode), 'wb')
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        os.unlink(path)
        raise
    _sync_directory(path)


def _sync_directory(path: str | os.PathLike[str]) -> None:
    directory = os.open(os.path.dirname(path) or '.', os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


PublicKeys = Mapping[str, ec.EllipticCurvePublicKey]


@dataclasses.dataclass(frozen=True)
class Pinned:
    """One entry of keys.json.

    :param certificate: of a key for ``tls``, and of no other.
    """

    use: str
    kid: str
    public: ec.EllipticCurvePublicKey
    state: State = State.ACTIVE
    certificate: x509.Certificate | None = None

    @classmethod
    def of(cls, use: str, key: SigningKey, cloud: str, at: float) -> Pinned:
        """The active entry of a key at hand; at: seconds since 1970."""
        made = (
            stream.authority(key.private, cloud, key.kid, at)
            if use == TLS
            else None
        )
        return cls(use, key.kid, key.public, certificate=made)

    def to_json(self) -> dict[str, str]:
        """The entry in its use's list."""
        pem = self.public.public_bytes(
            serialization.Encoding.PEM,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        ).decode()
        entry = {'kid': self.kid, 'pem': pem, 'state': str(self.state)}
        if self.certificate is not None:
            entry['certificate'] = self.certificate.public_bytes(
                serialization.Encoding.PEM
            ).decode()
        return entry


@dataclasses.dataclass(frozen=True)
class KeyRing:
    """The pinned public keys of one cloud.

    ``result``, ``custody`` and ``approval`` map the ids of those that verify
    to the keys: a revoked one is not among them.
    """

    cloud: str
    pinned: tuple[Pinned, ...]

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        active: dict[str, str] = {}
        for key in self.pinned:
            if seen.setdefault(key.kid, key.use) != key.use:
                raise _bad(f'the key {key.kid} is listed for two uses')
            if key.state is State.ACTIVE and key.use in active:
                raise _bad(
                    f'two keys are active for {key.use}, {active[key.use]} '
                    f'and {key.kid}: let one of them be verify-only'
                )
            if key.state is State.ACTIVE:
                active[key.use] = key.kid
        if len(seen) != len(self.pinned):
            raise _bad('a key is listed twice')

    @functools.cached_property
    def result(self) -> PublicKeys:
        """Those that verify attestation results."""
        return self._verifying('result')

    @functools.cached_property
    def custody(self) -> PublicKeys:
        """Those that verify documents."""
        return self._verifying('custody')

    @functools.cached_property
    def approval(self) -> PublicKeys:
        """Those that verify approvals."""
        return self._verifying('approval')

    @functools.cached_property
    def authorities(self) -> Mapping[str, x509.Certificate]:
        """Those whose certificates of hosts count, by the ids of the keys."""
        return {
            key.kid: key.certificate
            for key in self.pinned
            if key.certificate is not None and key.state is not State.REVOKED
        }

    @property
    def streams(self) -> Pinned | None:
        """The key that signs certificates of hosts, if there is one."""
        for key in self.pinned:
            if key.use == TLS and key.state is State.ACTIVE:
                return key
        return None

    def _verifying(self, use: str) -> PublicKeys:
        return {
            key.kid: key.public
            for key in self.pinned
            if key.use == use and key.state is not State.REVOKED
        }

    def active(self, use: str) -> Pinned:
        """The key that signs what is new.

        :raises Unavailable: KEYS_INVALID, none does.
        """
        for key in self.pinned:
            if key.use == use and key.state is State.ACTIVE:
                return key
        raise _bad(f'no key is active for {use}')

    def find(self, kid: str) -> Pinned:
        """The key of this id, in whatever state.

        :raises Unavailable: KEYS_INVALID, it is not listed.
        """
        for key in self.pinned:
            if key.kid == kid:
                return key
        raise _bad(f'the trusted keys do not list the key {kid}')

    def having(self, *changed: Pinned) -> KeyRing:
        """The ring with these keys in place of those with their ids."""
        new = {key.kid: key for key in (*self.pinned, *changed)}
        return dataclasses.replace(self, pinned=tuple(new.values()))

    @classmethod
    def build(
        cls,
        cloud: str,
        *,
        result: Sequence[ec.EllipticCurvePublicKey],
        custody: Sequence[ec.EllipticCurvePublicKey],
        approval: Sequence[ec.EllipticCurvePublicKey],
    ) -> KeyRing:
        """Make a ring of keys at hand.

        The last one of each use is active, those before it verify only.
        """
        listed = zip(USES, (result, custody, approval), strict=True)
        return cls(
            cloud,
            tuple(
                Pinned(
                    use,
                    key_id(key),
                    key,
                    State.ACTIVE if key is keys[-1] else State.VERIFY_ONLY,
                )
                for use, keys in listed
                for key in keys
            ),
        )

    @classmethod
    def load(cls, source: str | os.PathLike[str] | schemas.Json) -> KeyRing:
        """Read keys.json, from its path or already decoded.

        :raises Unavailable: KEYS_INVALID, missing or malformed.
        """
        if isinstance(source, Mapping):
            return cls._from_dict(source)
        try:
            with open(source, encoding='utf-8') as stream:
                data = json.load(stream)
        except (OSError, ValueError, RecursionError) as exc:
            raise _bad(
                f'cannot read the trusted keys {source}: {type(exc).__name__}'
            ) from None
        if not isinstance(data, dict):
            raise _bad(f'{source} does not hold an object')
        return cls._from_dict(data)

    @classmethod
    def _from_dict(cls, data: schemas.Json) -> KeyRing:
        if data.get('version') != 1:
            raise _bad('the trusted keys have an unknown version')
        cloud = data.get('cloud')
        if not isinstance(cloud, str) or not cloud:
            raise _bad('the trusted keys do not name their cloud')
        for name in data:
            if name not in ('version', 'cloud', *ALL_USES):
                raise _bad('the trusted keys have a member of unknown name')
        listed = (_entries(data.get(use), use) for use in USES)
        tls = _entries(data.get(TLS, []), TLS)
        return cls(
            cloud, tuple(key for keys in (*listed, tls) for key in keys)
        )

    def to_json(self) -> dict[str, object]:
        """The content of keys.json."""
        document: dict[str, object] = {'version': 1, 'cloud': self.cloud}
        for use in USES:
            document[use] = [
                key.to_json() for key in self.pinned if key.use == use
            ]
        tls = [key.to_json() for key in self.pinned if key.use == TLS]
        return {**document, TLS: tls} if tls else document

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write keys.json, public keys only, whole or not at all."""
        path = os.path.realpath(path)
        text = json.dumps(self.to_json(), indent=1) + '\n'
        new = f'{path}.{os.urandom(4).hex()}.new'
        with _created(new, 0o644) as file:
            os.fchmod(file.fileno(), _mode(path, 0o644))
            file.write(text.encode())
        try:
            os.replace(new, path)
        except BaseException:
            os.unlink(new)
            raise
        _sync_directory(path)


def _mode(path: str, default: int) -> int:
    """The access bits of a file, or the default if there is none."""
    try:
        return os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        return default


def _entries(items: object, use: str) -> list[Pinned]:
    if not isinstance(items, list):
        raise _bad(f'the trusted keys lack the list {use!r}')
    return [_entry(item, use) for item in items]


def _entry(item: object, use: str) -> Pinned:
    if not isinstance(item, dict) or not isinstance(item.get('pem'), str):
        raise _bad(f'an entry of {use!r} is not an object with a PEM')
    more = {'certificate'} if use == TLS else set()
    if not set(item) <= {'kid', 'pem', 'state', *more}:
        raise _bad(f'an entry of {use!r} has a member of unknown name')
    key = _public(item['pem'], use)
    kid = key_id(key)
    if item.get('kid') != kid:
        raise _bad(f'a key of {use!r} does not match its id')
    try:
        state = State(item.get('state', State.ACTIVE))
    except ValueError:
        raise _bad(
            f'the key {kid} is in none of the states {", ".join(State)}'
        ) from None
    try:
        made = (
            stream.read_authority(str(item.get('certificate')), key)
            if use == TLS
            else None
        )
    except ValueError as exc:
        raise _bad(f'the certificate of the key {kid} is {exc}') from None
    return Pinned(use, kid, key, state, made)


def _public(pem: str, use: str) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise _bad(f'an entry of {use!r} is not a public key') from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
        key.curve, ec.SECP256R1
    ):
        raise _bad(f'a key of {use!r} is not on P-256')
    return key
