# SPDX-License-Identifier: Apache-2.0
"""What every use case needs: database, keys, settings, clock, Nova."""

from __future__ import annotations

import dataclasses
import errno
import os
import time
from collections.abc import Callable

from oslo_config import cfg

from korora_nova import conf as options
from korora_nova import errors, metrics, spans
from korora_nova.rats import (
    endorsement,
    ima,
    policy,
    reference,
    remembered,
)
from korora_nova.rats.signed import keys
from korora_nova.verifier import (
    cache,
    keystore,
    limits,
    nova_record,
    observed,
    places,
)
from korora_nova.verifier.anchor import base as anchors
from korora_nova.verifier.anchor import loading
from korora_nova.verifier.appraisal import extensions
from korora_nova.verifier.db import api
from korora_nova.verifier.sources import chosen

#: Clocks of two workers may differ by this much, seconds: what one has noted
#: may lie that far in the future of another.
MAX_SKEW = 2.0
#: What is read below the directory of trusted TPM makers.
ENDORSER_FILES = ('.pem', '.crt', '.cer', '.der', '.crl')
MAX_ENDORSER_FILE = 16 << 20
MAX_ENDORSER_FILES = 4096


@dataclasses.dataclass(frozen=True)
class Settings:
    """Life times in seconds; see ``[verifier]`` in ``conf``."""

    result_ttl: float
    challenge_ttl_steady: float
    challenge_ttl_on_demand: float
    evidence_max_age: float
    approval_ttl: float
    permit_deadline: float
    ek_roots: str
    require_enforcer: bool
    migration_tls: str
    certificate_ttl: float
    offline_window: float
    offline_flavors: list[str]
    offline_aggregates: list[str]
    offline_servers: int
    offline_starts: int

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Settings:
        """Read ``[verifier]``."""
        return cls(
            **{
                field.name: conf[options.VERIFIER][field.name]
                for field in dataclasses.fields(cls)
            }
        )


@dataclasses.dataclass(frozen=True)
class Service:
    """One per application; its only state are caches.

    :param keyset: keys that it pins and signs with.
    :param nova: asked before a claim is granted or a permit is signed.
    :param rules: those that policies may have.
    :param started: when this process began, by ``clock``.
    :param clock: seconds since 1970.
    :param references: reference values by the uuid of their row.
    :param policies: compiled, by uuid and revision.
    :param memos: entries of measurement lists that hosts share.
    :param judgements: what policies said of states.
    :param uploads: large requests under way; ``waits`` those that wait.
    :param pressure: periodic attestations under way.
    :param snapshots: what was read last of all results.
    :param sources: who has a word in results, native first.
    :param places: which servers have offline windows.
    """

    db: api.Database
    settings: Settings
    keyset: keystore.Keys
    nova: nova_record.NovaRecord
    rules: policy.Registry
    anchor: anchors.Anchor
    started: float
    places: places.Places
    clock: Callable[[], float] = time.time
    references: dict[str, reference.ReferenceValues] = dataclasses.field(
        default_factory=dict
    )
    policies: cache.BoundPolicies = dataclasses.field(
        default_factory=cache.BoundPolicies
    )
    memos: ima.Memos = dataclasses.field(default_factory=ima.Memos)
    judgements: remembered.Judgements = dataclasses.field(
        default_factory=remembered.Judgements
    )
    uploads: limits.Uploads = dataclasses.field(default_factory=limits.Uploads)
    waits: limits.Waits = dataclasses.field(
        default_factory=lambda: limits.Waits(0)
    )
    pressure: limits.Pressure = dataclasses.field(
        default_factory=lambda: limits.Pressure(0)
    )
    snapshots: observed.Latest = dataclasses.field(
        default_factory=observed.Latest
    )
    sources: tuple[chosen.Chosen, ...] = chosen.NATIVE_ONLY

    @property
    def ring(self) -> keys.KeyRing:
        """:raises Unavailable: KEYS_INVALID."""
        return self.keyset.ring

    @property
    def signers(self) -> keystore.Signers:
        """:raises Unavailable: KEYS_INVALID."""
        return self.keyset.signers()

    @property
    def cloud(self) -> str:
        return self.ring.cloud

    def endorsers(self) -> endorsement.Endorsers:
        """The trusted makers of TPMs, read afresh each time.

        :raises Unavailable: KEYS_INVALID, a file or directory cannot be
            read, or is too large.
        """
        return endorsement.Endorsers.read(
            endorser_files(self.settings.ek_roots)
        )


def endorser_files(directory: str) -> dict[str, bytes]:
    """Certificates and revocation lists below a directory, by name.

    :raises Unavailable: as :meth:`Service.endorsers`.
    """
    try:
        return {
            os.path.relpath(path, directory): _read(path)
            for path in _files(directory)
        }
    except OSError as exc:
        raise errors.Unavailable(
            errors.Reason.KEYS_INVALID,
            f'Cannot read the EK roots in {directory}: '
            f'{type(exc).__name__} for {exc.filename}.',
        ) from exc


def _files(directory: str) -> list[str]:
    """Certificates and revocation lists below a directory, by name."""
    found: list[str] = []
    for parent, _, names in os.walk(directory, onerror=_give_up):
        found += (
            os.path.join(parent, name)
            for name in names
            if name.lower().endswith(ENDORSER_FILES)
        )
    if len(found) > MAX_ENDORSER_FILES:
        raise OSError(errno.EFBIG, 'too many files', directory)
    return sorted(found)


def _give_up(error: OSError) -> None:
    raise error


def _read(path: str) -> bytes:
    with open(path, 'rb') as file:
        data = file.read(MAX_ENDORSER_FILE + 1)
    if len(data) > MAX_ENDORSER_FILE:
        raise OSError(errno.EFBIG, 'too large', path)
    return data


def from_conf(
    conf: cfg.ConfigOpts,
    nova: nova_record.NovaRecord | None = None,
    clock: Callable[[], float] = time.time,
    anchor: anchors.Anchor | None = None,
) -> Service:
    """Make the service that a configuration describes.

    :raises Unavailable: KEYS_INVALID, EXTENSION_INVALID, ANCHOR_UNAVAILABLE,
        SOURCE_INVALID.
    """
    options.register_verifier_opts(conf)
    spans.start(conf[options.VERIFIER].spans, 'korora-api')
    metrics.start(conf[options.VERIFIER].metrics_dir, metrics.API)
    settings = Settings.from_conf(conf)
    record = nova or nova_record.KeystoneNovaRecord(conf)
    return Service(
        db=api.Database(conf),
        settings=settings,
        keyset=keystore.Keys(conf),
        nova=record,
        places=places.Places(
            record, settings.offline_flavors, settings.offline_aggregates
        ),
        rules=extensions.load(),
        anchor=anchor or loading.load(conf),
        started=clock(),
        clock=clock,
        waits=limits.Waits(conf[options.VERIFIER].waiting_requests),
        pressure=limits.Pressure(conf[options.VERIFIER].busy_requests),
        sources=chosen.load(conf),
    )
