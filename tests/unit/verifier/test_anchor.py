# SPDX-License-Identifier: Apache-2.0
"""Anchors that need no server, and how one is chosen."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import sqlite3
import stat
import subprocess
import sys
import traceback

import fixtures
import testtools
from oslo_config import cfg

from korora_nova import errors
from korora_nova.verifier.anchor import base, loading
from korora_nova.verifier.db import api
from tests.support import anchors
from tests.support.anchors import LEDGER, OTHER, SERVER, mark

# Raises marks where no file grows beyond what this one has now, and a little.
FULL = """
import os, resource, signal, sys
from korora_nova import errors
from korora_nova.verifier.db import api
from tests.support import anchors
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, room = sys.argv[1], int(sys.argv[2])
anchor = anchors.load({'backend': 'file', 'path': path})
size = os.stat(path).st_size + room
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
done = 0
try:
    for number in range(2000):
        server = f'{number:036}'
        anchor.rise(anchors.LEDGER, server, anchors.mark(1))
        done += 1
except errors.Unavailable as exc:
    print(done, exc)
"""


class TestFile(anchors.AnchorMixin):
    def settings(self):
        self.path = os.path.join(
            self.useFixture(fixtures.TempDir()).path, 'a b?%23#.sqlite'
        )
        return {'backend': 'file', 'path': self.path}

    def test_guarantees_nothing(self) -> None:
        self.assertFalse(self.anchor.GUARANTEES)

    def test_only_its_user_reads_it(self) -> None:
        self.anchor.create(LEDGER)
        self.assertEqual(0o600, stat.S_IMODE(os.stat(self.path).st_mode))

    def test_removed(self) -> None:
        self.anchor.create(LEDGER)
        self.anchor.get(LEDGER, [])
        os.remove(self.path)
        with self.refused('ANCHOR_MISSING', self.path):
            self.anchor.rise(LEDGER, SERVER, mark(1))
        self.assertFalse(os.path.exists(self.path))

    def test_emptied(self) -> None:
        self.anchor.create(LEDGER)
        os.truncate(self.path, 0)
        with self.refused('ANCHOR_MISSING'):
            self.anchor.get(LEDGER, [SERVER])

    def test_damaged(self) -> None:
        self.anchor.create(LEDGER)
        with open(self.path, 'r+b') as stream:
            stream.write(b'damaged' * 100)
        with self.refused('ANCHOR_UNAVAILABLE', 'not a database'):
            self.anchor.get(LEDGER, [SERVER])
        with self.refused('ANCHOR_UNAVAILABLE'):
            self.another().create(LEDGER)

    def test_crash_while_it_was_made(self) -> None:
        pathlib.Path(self.path).touch()
        with self.refused('ANCHOR_MISSING'):
            self.anchor.get(LEDGER, [SERVER])
        self.anchor.create(LEDGER)
        self.assertMark(None)

    def test_marks_of_nobody_are_not_adopted(self) -> None:
        self.anchor.create(LEDGER)
        self.anchor.rise(LEDGER, SERVER, mark(1))
        with sqlite3.connect(self.path) as connection:
            connection.execute('DELETE FROM anchor_ledger')
        with self.refused('ANCHOR_MISSING'):
            self.anchor.get(LEDGER, [SERVER])
        with self.refused('ANCHOR_EXISTS'):
            self.anchor.create(OTHER)

    def test_no_such_directory(self) -> None:
        anchor = self.another(path=f'{self.path}/not/there')
        with self.refused('ANCHOR_UNAVAILABLE', 'No such file'):
            anchor.create(LEDGER)
        with self.refused('ANCHOR_MISSING'):
            anchor.get(LEDGER, [SERVER])

    def test_held_by_another_process(self) -> None:
        self.anchor.create(LEDGER)
        with sqlite3.connect(self.path) as connection:
            connection.execute('BEGIN EXCLUSIVE')
            anchor = self.another(timeout=0.2)
            with self.refused('ANCHOR_UNAVAILABLE', 'locked'):
                anchor.get(LEDGER, [SERVER])
            with self.refused('ANCHOR_UNAVAILABLE', 'locked'):
                anchor.rise(LEDGER, SERVER, mark(1))
        self.assertMark(None)

    def test_full_disk(self) -> None:
        """Each mark is there as a whole, or it was refused."""
        self.anchor.create(LEDGER)
        self.anchor.rise(LEDGER, SERVER, mark(1))
        for room in (0, 4096, 20000):
            output = subprocess.run(
                [sys.executable, '-c', FULL, self.path, str(room)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            done, _, why = output.partition(' ')
            self.assertIn('ANCHOR_UNAVAILABLE', why)
            self.assertMark(mark(1))
            servers = [f'{number:036}' for number in range(2000)]
            marks = self.another().get(LEDGER, servers)
            self.assertEqual(set(servers[: int(done)]), set(marks))
            self.assertLessEqual(set(marks.values()), {mark(1)})
        self.anchor.rise(LEDGER, SERVER, mark(2))
        self.assertMark(mark(2))


class TestDatabase(anchors.AnchorMixin):
    """With SQLite; the servers are in tests/functional."""

    def settings(self):
        self.directory = self.useFixture(fixtures.TempDir()).path
        return {
            'backend': 'database',
            'connection': f'sqlite:///{self.directory}/anchor.db',
        }

    def test_guarantees(self) -> None:
        self.assertTrue(self.anchor.GUARANTEES)

    def test_options_that_cannot_work(self) -> None:
        for connection, word in (
            (None, 'not set'),
            ('', 'not set'),
            ('nonsense with pa55word', 'not an URL'),
            ('nodriver://u:pa55word@h/d', 'cannot be loaded'),
            ('mysql+nodriver://u:pa55word@h/d', 'cannot be loaded'),
            ('mysql+pymysql://u:pa55word@h:x/d', 'not an URL'),
        ):
            try:
                self.another(connection=connection)
            except errors.Unavailable as exc:
                self.assertEqual('ANCHOR_UNAVAILABLE', exc.reason)
                self.assertIn(word, exc.message)
                self.assertNotIn('pa55word', traceback.format_exc())
            else:
                self.fail(connection)

    def test_unreachable(self) -> None:
        anchor = self.another(
            connection='mysql+pymysql://u:pa55word@127.0.0.1:1/d'
        )
        for call in (
            lambda: anchor.get(LEDGER, [SERVER]),
            lambda: anchor.rise(LEDGER, SERVER, mark(1)),
            lambda: anchor.create(LEDGER),
        ):
            exc = self.assertRaises(errors.Unavailable, call)
            self.assertEqual('ANCHOR_UNAVAILABLE', exc.reason)
            text = ''.join(traceback.format_exception(exc))
            self.assertNotIn('pa55word', text)
            self.assertIn('2003', exc.message)

    def test_the_database_that_it_watches(self) -> None:
        for watched, anchor, refused, warned in (
            ('mysql://a@h/x', 'mysql+pymysql://b@h/x', True, False),
            ('mysql+pymysql://h/x', 'mysql+pymysql://h/y', False, True),
            ('mysql+pymysql://h/x', 'mysql+pymysql://i/x', False, False),
            ('mysql+pymysql://h/x', 'mysql+pymysql://h:9/x', False, False),
            ('sqlite:////x', 'sqlite:////x', True, False),
        ):
            made = anchors.conf(backend='database', connection=anchor)
            api.register_opts(made)
            made.set_override('connection', watched, 'database')
            log = self.useFixture(fixtures.FakeLogger())
            if refused:
                with self.refused('ANCHOR_UNAVAILABLE', 'restores'):
                    loading.load(made)
            else:
                loading.load(made)
            self.assertEqual(warned, 'one backup' in log.output, watched)


class TestNone(testtools.TestCase):
    def test_knows_nothing_and_refuses_nothing(self) -> None:
        anchor = loading.load(anchors.conf())
        self.assertFalse(anchor.GUARANTEES)
        anchor.create(LEDGER)
        anchor.rise(LEDGER, SERVER, mark(2))
        anchor.rise(LEDGER, SERVER, mark(2, 'f'))
        self.assertEqual({}, anchor.get(LEDGER, [SERVER]))


class Failing:
    def __init__(self, conf: cfg.ConfigOpts) -> None:
        raise RuntimeError('the password is 1234')


class Refusing:
    def __init__(self, conf: cfg.ConfigOpts) -> None:
        raise base.misconfigured('Locked.')


DRIVERS = {
    'failing': f'{__name__}:Failing',
    'refusing': f'{__name__}:Refusing',
    'not-there': f'{__name__}:Nothing',
    'not-a-class': f'{__name__}:DRIVERS',
    'not-importable': 'korora_no_such_package:Anchor',
    'twice': f'{__name__}:Refusing',
}


class TestLoading(testtools.TestCase):
    def choose(self, name: str) -> errors.Unavailable:
        """As if packages with the drivers of this module were installed."""
        points = [
            importlib.metadata.EntryPoint(one, value, loading.NAMESPACE)
            for one, value in [*DRIVERS.items(), ('twice', 'json:loads')]
        ]
        self.useFixture(
            fixtures.MonkeyPatch(
                'stevedore.extension.ExtensionManager.ENTRY_POINT_CACHE',
                {loading.NAMESPACE: points},
            )
        )
        exc = self.assertRaises(
            errors.Unavailable, loading.load, anchors.conf(backend=name)
        )
        self.assertEqual('ANCHOR_UNAVAILABLE', exc.reason)
        self.assertNotIn('1234', ''.join(traceback.format_exception(exc)))
        return exc

    def test_broken_drivers(self) -> None:
        for name, said in (
            ('failing', 'failed with RuntimeError'),
            ('refusing', 'Locked.'),
            ('not-there', 'cannot be loaded'),
            ('not-a-class', 'failed with TypeError'),
            ('not-importable', 'cannot be loaded: ModuleNotFoundError'),
            ('unknown', 'No installed package'),
            ('twice', 'Several'),
        ):
            self.assertIn(said, self.choose(name).message)
