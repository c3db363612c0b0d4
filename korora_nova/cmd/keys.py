# SPDX-License-Identifier: Apache-2.0
"""The commands of korora-manage about the service's keys.

They change keys.json on this node, for the operator to distribute. Only what
is needed for that is read: no command asks a host, or Nova.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from oslo_config import cfg

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.rats.signed import keys
from korora_nova.rats.signed.keys import State
from korora_nova.verifier import keystore, keyuse
from korora_nova.verifier.db import api

#: Seconds between two looks whether a key is still needed.
POLL = 5.0


def create(conf: cfg.ConfigOpts) -> None:
    """Make the keys that are missing, or another one for one use.

    Another one only verifies until it is activated.
    """
    path = _path(conf)
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    with _editing(path):
        ring = keys.KeyRing.load(path) if os.path.exists(path) else _empty()
        store = keystore.Store(conf)
        use = conf.command.use
        for one in [use] if use else keys.USES:
            listed = any(key.use == one for key in ring.pinned)
            if listed and not use:
                store.signing_key(one, ring.active(one).kid)
                continue
            made = store.create(one)
            state = State.VERIFY_ONLY if listed else State.ACTIVE
            entry = keys.Pinned.of(one, made, ring.cloud, time.time())
            ring = ring.having(dataclasses.replace(entry, state=state))
            # At once: the store may have no room for the next one.
            ring.save(path)
            print(f'The {one} key {made.kid} is {state}.')
    print(f'The public keys are in {path}; every host and Nova pin them.')


def activate(conf: cfg.ConfigOpts) -> None:
    """Let a key sign all that is new of its use, in place of another one."""
    with _editing(_path(conf)):
        ring = keys.KeyRing.load(_path(conf))
        key = ring.find(conf.command.kid)
        if key.state is State.REVOKED:
            raise errors.Conflict(errors.Reason.KEY_REVOKED)
        keystore.Store(conf).signing_key(key.use, key.kid)
        before = ring.active(key.use)
        changed = [dataclasses.replace(key, state=State.ACTIVE)]
        if before.kid != key.kid:
            changed.append(
                dataclasses.replace(before, state=State.VERIFY_ONLY)
            )
        ring.having(*changed).save(_path(conf))
    print(
        f'The {key.use} key {key.kid} is active. All that have not listed it '
        'in their keys.json yet refuse what it signs.'
    )


def status(conf: cfg.ConfigOpts) -> int:
    """Say of each key what it is good for and what needs it.

    The exit code is 1 if this node lacks the private key of an active one.
    """
    ring = keys.KeyRing.load(_path(conf))
    store, needs = keystore.Store(conf), _needs(conf, ring)
    code = 0
    for key in ring.pinned:
        missing = _missing(store, key)
        print(f'{key.use:<8} {key.kid} {key.state}')
        for line in (*filter(None, [missing]), *needs[key.kid].ever()):
            print(f'         {line}')
        if missing and key.state is State.ACTIVE:
            code = 1
    return code


def _missing(store: keystore.Store, key: keys.Pinned) -> str | None:
    """Why this node cannot sign with a key; None if it can, or needs not."""
    if key.state is State.REVOKED:
        return None
    try:
        store.signing_key(key.use, key.kid)
    except errors.KororaError as exc:
        return f'this node cannot sign with it: {exc.message}'
    return None


def retire(conf: cfg.ConfigOpts) -> None:
    """Revoke a key that nothing needs any more, or say what does."""
    until = time.monotonic() + (conf.command.wait or 0)
    while True:
        told = _retired(conf, conf.command.kid)
        if not told:
            break
        if time.monotonic() >= until:
            raise _in_use(
                told,
                'Agents reseal their keys by themselves; a host that does '
                'not come back leaves by "openstack attestation host evict". '
                'An old custody key stays verify-only.',
            )
        time.sleep(min(POLL, max(0.0, until - time.monotonic())))
    print(f'The key {conf.command.kid} is revoked; nothing needs it.')


def _retired(conf: cfg.ConfigOpts, kid: str) -> list[str]:
    """Revoke a key unless something needs it: that is told."""
    path = _path(conf)
    with _editing(path):
        ring = keys.KeyRing.load(path)
        key = _not_active(ring, kid)
        if key.state is State.REVOKED:
            return []
        told = _needs(conf, ring)[kid].ever()
        if told:
            return told
        ring.having(dataclasses.replace(key, state=State.REVOKED)).save(path)
        # A worker that had not seen the last change may have signed with it.
        told = _needs(conf, ring)[kid].ever()
        if told:
            ring.save(path)
        return told


def revoke(conf: cfg.ConfigOpts) -> None:
    """Let nothing count any more that a key signed: it has leaked."""
    path = _path(conf)
    with _editing(path):
        ring = keys.KeyRing.load(path)
        key = _not_active(ring, conf.command.kid)
        if not conf.command.force and key.state is not State.REVOKED:
            told = _needs(conf, ring)[key.kid].now()
            if told:
                raise _in_use(
                    told, 'With --force, what needs it is refused from now on.'
                )
        ring.having(dataclasses.replace(key, state=State.REVOKED)).save(path)
    print(
        f'The {key.use} key {key.kid} is revoked. It counts on each host and '
        'in Nova until they have the new keys.json.'
    )


def _not_active(ring: keys.KeyRing, kid: str) -> keys.Pinned:
    key = ring.find(kid)
    if key.state is State.ACTIVE:
        raise errors.Conflict(
            errors.Reason.KEY_IN_USE,
            f'The key {kid} is the active one for {key.use}; activate '
            'another one first.',
        )
    return key


def _in_use(told: list[str], more: str) -> errors.Conflict:
    lines = ''.join(f'\n  {line}' for line in told)
    return errors.Conflict(
        errors.Reason.KEY_IN_USE,
        f'{errors.REASONS[errors.Reason.KEY_IN_USE]}{lines}\n{more}',
    )


def _needs(
    conf: cfg.ConfigOpts, ring: keys.KeyRing
) -> Mapping[str, keyuse.Need]:
    return keyuse.needs(api.Database(conf), ring, time.time())


def _path(conf: cfg.ConfigOpts) -> str:
    return str(conf[options.VERIFIER].trusted_keys)


def _empty() -> keys.KeyRing:
    return keys.KeyRing(str(uuid.uuid4()), ())


@contextlib.contextmanager
def _editing(path: str) -> Iterator[None]:
    """One at a time on this node."""
    directory = os.open(os.path.dirname(path) or '.', os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def add_parsers(verbs: Any) -> None:
    """Add the commands below ``keys``."""
    for verb, action in (
        ('create', create),
        ('status', status),
        ('activate', activate),
        ('retire', retire),
        ('revoke', revoke),
    ):
        parser = verbs.add_parser(verb, help=action.__doc__)
        parser.set_defaults(action=action)
        if action is create:
            parser.add_argument(
                'use',
                nargs='?',
                choices=keys.ALL_USES,
                help='of the one to add',
            )
        elif action is not status:
            parser.add_argument('kid', metavar='KEY', help='its id')
        if action is retire:
            parser.add_argument(
                '--wait', type=float, help='seconds until it gives up'
            )
        if action is revoke:
            parser.add_argument(
                '--force',
                action='store_true',
                help='also if servers need it; see the guide',
            )
