# SPDX-License-Identifier: Apache-2.0
"""What every use case needs: database, keys, settings, clock, Nova."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence

from oslo_config import cfg

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.rats import keys, reference
from korora_nova.verifier import nova_record
from korora_nova.verifier.db import api


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

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Settings:
        """Read ``[verifier]``."""
        return cls(**{field.name: conf[options.VERIFIER][field.name]
                      for field in dataclasses.fields(cls)})


@dataclasses.dataclass(frozen=True)
class Signers:
    """The private keys, one per use."""

    result: keys.SigningKey
    custody: keys.SigningKey
    approval: keys.SigningKey

    @classmethod
    def load(cls, directory: str, ring: keys.KeyRing) -> Signers:
        """Read the keys and insist that hosts have pinned each.

        :raises Unavailable: KEYS_INVALID.
        """
        loaded = {}
        for use in keys.USES:
            path = os.path.join(directory, f'{use}.pem')
            key = keys.SigningKey.load(path)
            if key.kid not in getattr(ring, use):
                raise errors.Unavailable(
                    errors.Reason.KEYS_INVALID,
                    f'The trusted keys do not list {path} for {use}.')
            loaded[use] = key
        return cls(**loaded)


@dataclasses.dataclass(frozen=True)
class Service:
    """One per application; its only state is a cache of immutable rows.

    :param clock: seconds since 1970.
    :param nova: asked before a permit is signed.
    :param references: reference values by the uuid of their row.
    """

    db: api.Database
    settings: Settings
    ring: keys.KeyRing
    signers: Signers
    nova: nova_record.NovaRecord
    clock: Callable[[], float] = time.time
    references: dict[str, reference.ReferenceValues] = dataclasses.field(
        default_factory=dict)

    @property
    def cloud(self) -> str:
        return self.ring.cloud

    def ek_roots(self) -> Sequence[bytes]:
        """PEM files of the trusted endorsers, read afresh each time.

        :raises Unavailable: KEYS_INVALID, the directory cannot be read.
        """
        directory = self.settings.ek_roots
        try:
            found = []
            for name in sorted(os.listdir(directory)):
                if name.endswith(('.pem', '.crt')):
                    with open(os.path.join(directory, name), 'rb') as file:
                        found.append(file.read())
            return found
        except OSError as exc:
            raise errors.Unavailable(
                errors.Reason.KEYS_INVALID,
                f'Cannot read the EK roots in {directory}: '
                f'{type(exc).__name__}.') from exc


def from_conf(conf: cfg.ConfigOpts,
              nova: nova_record.NovaRecord | None = None,
              clock: Callable[[], float] = time.time) -> Service:
    """Make the service that a configuration describes.

    :raises Unavailable: KEYS_INVALID.
    """
    options.register_verifier_opts(conf)
    ring = keys.KeyRing.load(conf[options.VERIFIER].trusted_keys)
    return Service(
        db=api.Database(conf),
        settings=Settings.from_conf(conf),
        ring=ring,
        signers=Signers.load(conf[options.VERIFIER].keys_dir, ring),
        nova=nova or nova_record.KeystoneNovaRecord(conf),
        clock=clock)
