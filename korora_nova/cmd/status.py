# SPDX-License-Identifier: Apache-2.0
"""korora-status upgrade check: can this release use what is installed?"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from oslo_config import cfg
from oslo_upgradecheck import common_checks, upgradecheck

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.api import rules
from korora_nova.custody.words import StreamTls
from korora_nova.verifier import certificates, enforcement, keystore
from korora_nova.verifier.anchor import loading
from korora_nova.verifier.custody import ledger
from korora_nova.verifier.db import api, migration

_SUCCESS = upgradecheck.Code.SUCCESS
_WARNING = upgradecheck.Code.WARNING
_FAILURE = upgradecheck.Code.FAILURE


class Checks(upgradecheck.UpgradeCommands):
    """Database schema, signing keys, anchor, hosts, policy file."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__()
        self._conf = conf

    def schema(self) -> upgradecheck.Result:
        """The schema is the one that this release needs."""
        try:
            with api.available():
                current = migration.current(api.Database(self._conf).engine)
        except errors.KororaError as exc:
            return upgradecheck.Result(_FAILURE, str(exc))
        if current == migration.head():
            return upgradecheck.Result(_SUCCESS)
        return upgradecheck.Result(
            _FAILURE,
            f'The schema is at revision {current}, not at '
            f'{migration.head()}: run "korora-manage db sync".',
        )

    def keys(self) -> upgradecheck.Result:
        """The private key of each active key is there."""
        try:
            keystore.Keys(self._conf)
        except errors.KororaError as exc:
            return upgradecheck.Result(_FAILURE, str(exc))
        return upgradecheck.Result(_SUCCESS)

    def anchor(self) -> upgradecheck.Result:
        """The anchor answers, and is this ledger's."""
        try:
            made = loading.load(self._conf)
            with api.available(), api.Database(self._conf).read() as session:
                incarnation = ledger.incarnation(session)
            made.get(incarnation, [])
        except errors.KororaError as exc:
            return upgradecheck.Result(_FAILURE, str(exc))
        if made.GUARANTEES:
            return upgradecheck.Result(_SUCCESS)
        return upgradecheck.Result(
            _SUCCESS,
            'With this [anchor] backend a restored database is not noticed: '
            'after each start the service signs nothing until every host has '
            'reported.',
        )

    def enforcers(self) -> upgradecheck.Result:
        """Every host has Nova's driver, as its agent attested last."""
        try:
            with api.available(), api.Database(self._conf).read() as session:
                silent = enforcement.silent(session)
        except errors.KororaError as exc:
            return upgradecheck.Result(_FAILURE, str(exc))
        if not silent:
            return upgradecheck.Result(_SUCCESS)
        return upgradecheck.Result(
            _WARNING,
            'These hosts have not attested that their nova-compute runs the '
            f'driver: {", ".join(silent)}. While [verifier] require_enforcer '
            'is true, no server that needs trust starts or migrates there.',
        )

    def streams(self) -> upgradecheck.Result:
        """Every host can stream as [verifier] migration_tls wants it."""
        try:
            ring = keystore.Keys(self._conf).ring
            with api.available(), api.Database(self._conf).read() as session:
                lacking = certificates.lacking(session, ring, time.time())
        except errors.KororaError as exc:
            return upgradecheck.Result(_FAILURE, str(exc))
        mode = StreamTls(self._conf[options.VERIFIER].migration_tls)
        if mode is StreamTls.TRANSITION:
            return upgradecheck.Result(
                _SUCCESS,
                'While [verifier] migration_tls is "transition", protected '
                'servers may be streamed in clear between hosts without '
                f'certificate: {", ".join(lacking) or "none"}.',
            )
        if mode is StreamTls.SITE or (ring.streams and not lacking):
            return upgradecheck.Result(_SUCCESS)
        return upgradecheck.Result(
            _WARNING,
            'No protected server can be streamed from or to '
            + (
                f'{", ".join(lacking)}, which have no certificate for it.'
                if ring.streams
                else 'any host: "korora-manage keys create tls" makes the key '
                'that signs certificates.'
            ),
        )

    def policy(self) -> upgradecheck.Result:
        """The operator's rules can be read and name rules that exist."""
        problems = rules.Enforcer(self._conf).problems()
        if problems:
            return upgradecheck.Result(_FAILURE, ' '.join(problems))
        return upgradecheck.Result(_SUCCESS)

    def policy_format(self) -> upgradecheck.Result:
        """The operator's rules are YAML."""
        return common_checks.check_policy_json(self, self._conf)

    _upgrade_checks = (
        ('Database schema', schema),
        ('Signing keys', keys),
        ('Anchor', anchor),
        ('Enforcement on hosts', enforcers),
        ('Certificates of streams', streams),
        ('Policy file', policy),
        ('Policy file format', policy_format),
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run the checks; the exit status is that of oslo.upgradecheck."""
    conf = cfg.ConfigOpts()
    options.register_verifier_opts(conf)
    return int(
        upgradecheck.main(
            conf,
            options.PROJECT,
            Checks(conf),
            argv=list(sys.argv[1:] if args is None else args),
            default_config_files=options.default_files(),
        )
    )


if __name__ == '__main__':
    sys.exit(main())
