# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server of one's own, for tests of what SQLite cannot show."""

import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from typing import Any

import fixtures
import psycopg2
import sqlalchemy as sa

#: Debian keeps each version's programs apart.
PROGRAMS = '/usr/lib/postgresql/*/bin'
#: It does not run as root; Debian's packages make this user.
USER = 'postgres'


class PostgreSql(fixtures.Fixture):
    """A server on a Unix socket in a temporary directory.

    :raises RuntimeError: it is not installed, or does not start.
    """

    START = 60.0

    def _setUp(self) -> None:
        install, server = _program('initdb'), _program('postgres')
        # Its user must reach it, which a fixture's directory does not admit
        self.directory = tempfile.mkdtemp(prefix='korora-pg-', dir='/var/tmp')
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self._as: dict[str, Any] = {}
        if not os.getuid():
            user = pwd.getpwnam(USER)
            os.chown(self.directory, user.pw_uid, user.pw_gid)
            self._as = {
                'user': user.pw_uid,
                'group': user.pw_gid,
                'extra_groups': [],
            }
        data = os.path.join(self.directory, 'data')
        subprocess.run(
            [install, '-D', data, '-U', 'korora', '-A', 'trust', '-E', 'UTF8']
            + ['--locale=C', '--no-sync'],
            check=True,
            capture_output=True,
            cwd=self.directory,
            **self._as,
        )
        self._log = open(os.path.join(self.directory, 'log'), 'wb')
        self.addCleanup(self._log.close)
        self._process = subprocess.Popen(
            [server, '-D', data, '-k', self.directory, '-h', '', '-F']
            + ['-c', 'shared_buffers=32MB', '-c', 'max_connections=300'],
            stdout=self._log,
            stderr=self._log,
            cwd=self.directory,
            **self._as,
        )
        self.addCleanup(self._stop)
        self._wait()

    def database(self) -> str:
        """URL of a new, empty database, for SQLAlchemy."""
        return self.copy('template1')

    def copy(self, template: str) -> str:
        """The same of one with another one's tables and rows."""
        name = f'korora_{uuid.uuid4().hex}'
        self._execute(f'CREATE DATABASE {name} TEMPLATE {template}')
        return f'postgresql+psycopg2://korora@/{name}?host={self.directory}'

    def drop(self, url: str) -> None:
        """Remove a database, with whoever is connected to it."""
        name = sa.make_url(url).database
        self._execute(f'DROP DATABASE {name} WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        connection = self._connect()
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
        connection.close()

    def _connect(self) -> Any:
        return psycopg2.connect(
            host=self.directory, user='korora', dbname='postgres'
        )

    def _stop(self) -> None:
        # A fast shutdown: it does not wait for those who are connected
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait(self) -> None:
        end = time.monotonic() + self.START
        while True:
            try:
                self._connect().close()
                return
            except psycopg2.OperationalError:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise
                time.sleep(0.1)


def _program(name: str) -> str:
    path = os.pathsep.join(sorted(glob.glob(PROGRAMS), reverse=True))
    found = shutil.which(name, path=path)
    if found is None:
        raise RuntimeError('install the package postgresql')
    return found
