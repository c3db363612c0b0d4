# SPDX-License-Identifier: Apache-2.0
"""korora-manage: database, keys and audit of the attestation service.

::

    korora-manage db sync
    korora-manage db version
    korora-manage db purge [--archive DIRECTORY] [--audit DAYS]
        [--documents DAYS] [--evidence DAYS] [--batch ROWS] [--dry-run]
    korora-manage keys create [USE]
    korora-manage keys status
    korora-manage keys activate KEY
    korora-manage keys retire KEY [--wait SECONDS]
    korora-manage keys revoke KEY [--force]
    korora-manage audit verify
    korora-manage endorsers check [--directory DIR]
    korora-manage anchor create
    korora-manage anchor show [SERVER ...]
    korora-manage placement sync [--dry-run]
    korora-manage openapi
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Sequence
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.api.openapi import document
from korora_nova.cmd import anchor, placement, purge
from korora_nova.cmd import keys as key_commands
from korora_nova.rats import inspection
from korora_nova.rats.signed import keys
from korora_nova.verifier import service
from korora_nova.verifier.anchor import loading
from korora_nova.verifier.custody import log
from korora_nova.verifier.db import api, migration


def db_sync(conf: cfg.ConfigOpts) -> None:
    """Create or upgrade the schema."""
    migration.upgrade(api.Database(conf).engine)
    print(f'The schema is at revision {migration.head()}.')


def db_version(conf: cfg.ConfigOpts) -> None:
    """Print the revision of the schema."""
    print(migration.current(api.Database(conf).engine) or 'none')


def audit_verify(conf: cfg.ConfigOpts) -> int:
    """Verify all documents, their chains, their log, and the anchor."""
    ring = keys.KeyRing.load(conf[options.VERIFIER].trusted_keys)
    report = log.verify(api.Database(conf), ring, loading.load(conf))
    for text in (*report.faults, *report.holes):
        print(text)
    print(
        f'{report.documents} documents of {report.servers} servers verify; '
        f'{len(report.faults)} faults, {len(report.holes)} gaps.'
    )
    if report.archived:
        print(f'{report.archived} documents are in archives only.')
    return 1 if report.faults else 0


def endorsers_check(conf: cfg.ConfigOpts) -> int:
    """Say which certificates of TPM makers are usable, and why not."""
    directory = conf.command.directory or conf[options.VERIFIER].ek_roots
    now = datetime.datetime.now(datetime.timezone.utc)
    code = 0
    for found in inspection.inspect(service.endorser_files(directory), now):
        print(found)
        code = code if found.usable else 1
    return code


def openapi(_: cfg.ConfigOpts) -> None:
    """Print the API as an OpenAPI document."""
    print(json.dumps(document.build(), indent=1, ensure_ascii=False))


def _add_parsers(subparsers: Any) -> None:
    nouns = {}
    for noun, verb, action in (
        ('db', 'sync', db_sync),
        ('db', 'version', db_version),
        ('db', 'purge', purge.purge),
        ('audit', 'verify', audit_verify),
        ('endorsers', 'check', endorsers_check),
        ('anchor', 'create', anchor.create),
        ('anchor', 'show', anchor.show),
    ):
        if noun not in nouns:
            nouns[noun] = subparsers.add_parser(noun).add_subparsers(
                required=True, metavar='COMMAND'
            )
        parser = nouns[noun].add_parser(verb, help=action.__doc__)
        parser.set_defaults(action=action)
        if action is endorsers_check:
            parser.add_argument(
                '--directory', help='default: [verifier] ek_roots'
            )
        if action is purge.purge:
            purge.add_arguments(parser)
        if action is anchor.show:
            parser.add_argument(
                'servers',
                nargs='*',
                metavar='SERVER',
                help='uuids of servers whose marks to show',
            )
    subparsers.add_parser('openapi', help=openapi.__doc__).set_defaults(
        action=openapi
    )
    key_commands.add_parsers(
        subparsers.add_parser('keys').add_subparsers(
            required=True, metavar='COMMAND'
        )
    )
    placement.add_parsers(
        subparsers.add_parser('placement').add_subparsers(
            required=True, metavar='COMMAND'
        )
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    conf = cfg.ConfigOpts()
    conf.register_cli_opt(
        cfg.SubCommandOpt('command', title='commands', handler=_add_parsers)
    )
    try:
        options.parse(
            sys.argv[1:] if args is None else args,
            conf=conf,
            config_files=options.default_files(),
        )
        options.register_verifier_opts(conf)
        logging.setup(conf, options.PROJECT)
        with api.available():
            return conf.command.action(conf) or 0
    except (errors.KororaError, cfg.Error, OSError) as exc:
        print(f'korora-manage: {exc}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
