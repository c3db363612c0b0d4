# SPDX-License-Identifier: Apache-2.0
"""MariaDB: one server, one user, a database per service.

Not SQLite: Neutron's migrations fail on it and Nova meets locks.
"""

from __future__ import annotations

import hashlib
import pathlib
import shutil

from korora_tools import checkout
from korora_tools.lab import paths, processes

NAMES = (
    'keystone',
    'placement',
    'glance',
    'neutron',
    'nova_api',
    'nova_cell0',
    'nova_cell1',
    'barbican',
    'korora',
    'korora_anchor',
)


def url(lab: paths.Lab, name: str) -> str:
    """The SQLAlchemy URL of one database."""
    driver = 'mysqldb' if name.startswith('korora') else 'pymysql'
    return (
        f'mysql+{driver}://lab:{lab.password}'
        f'@{paths.address("mariadb")}/{name}?charset=utf8mb4'
    )


def _socket(lab: paths.Lab) -> str:
    return f'--socket={lab.run}/mysql.sock'


def _key(lab: paths.Lab) -> str:
    """Changes with whatever the cached databases depend on."""
    here = pathlib.Path(__file__).parent
    digest = hashlib.sha256(lab.password.encode())
    for path in (
        checkout.CONSTRAINTS,
        here / 'control.py',
        here / 'database.py',
    ):
        digest.update(path.read_bytes())
    version = processes.run(lab, ['mariadbd', '--version'], 'root', log=None)
    return hashlib.sha256(digest.digest() + version.encode()).hexdigest()


def restore(lab: paths.Lab) -> bool:
    """Put the cached data directory in place; False if there is none."""
    saved = lab.cache / 'databases'
    key = saved / 'key'
    if not key.exists() or key.read_text() != _key(lab):
        return False
    shutil.copytree(saved / 'mysql', lab.data / 'mysql')
    return True


def keep(lab: paths.Lab) -> None:
    """Cache the data directory as it is now; restarts the server."""
    saved = lab.cache / 'databases'
    shutil.rmtree(saved, ignore_errors=True)
    processes.stop(lab, ['mariadb'], grace=60)
    shutil.copytree(lab.data / 'mysql', saved / 'mysql')
    (saved / 'key').write_text(_key(lab))
    start(lab)


def start(lab: paths.Lab) -> None:
    """Start the server and make the databases."""
    _serve(lab)
    statements = [
        'DROP DATABASE IF EXISTS korora;',
        'DROP DATABASE IF EXISTS korora_anchor;',
        *(
            f'CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb3;'
            for name in NAMES
        ),
        f"CREATE USER IF NOT EXISTS lab@'%' IDENTIFIED BY '{lab.password}';",
        "GRANT ALL ON *.* TO lab@'%';",
    ]
    processes.run(
        lab,
        ['mariadb', '--no-defaults', '-uroot', _socket(lab)],
        stdin='\n'.join(statements),
        log='mariadb-install',
    )


def _serve(lab: paths.Lab) -> None:
    """Durable against a kill, not against a loss of power."""
    datadir = lab.data / 'mysql'
    if not datadir.exists():
        processes.run(
            lab,
            [
                'mariadb-install-db',
                '--no-defaults',
                '--user=root',
                f'--datadir={datadir}',
                '--skip-test-db',
                '--auth-root-authentication-method=normal',
            ],
            log='mariadb-install',
        )
    processes.spawn(
        lab,
        'mariadb',
        [
            'mariadbd',
            '--no-defaults',
            '--user=root',
            _socket(lab),
            f'--datadir={datadir}',
            f'--pid-file={lab.run}/mysqld.pid',
            # A server that starts removes what others left in a shared one
            f'--tmpdir={lab.run}',
            '--bind-address=' + paths.CTL_IP,
            f'--port={paths.PORTS["mariadb"]}',
            '--skip-name-resolve',
            '--skip-log-bin',
            '--innodb-flush-log-at-trx-commit=2',
            '--innodb-buffer-pool-size=64M',
            '--innodb-log-file-size=32M',
            '--performance-schema=OFF',
            '--max-connections=300',
        ],
    )
    sock = lab.run / 'mysql.sock'
    processes.wait_for(lab, 'mariadb', sock.exists, 60)


def query(lab: paths.Lab, statement: str) -> str:
    """Run one statement as the database's administrator."""
    return processes.run(
        lab,
        ['mariadb', '--no-defaults', '-uroot', '-N', _socket(lab)],
        stdin=statement,
    )


def dump(lab: paths.Lab) -> str:
    """All databases as SQL text, for looking into what rests there."""
    return processes.run(
        lab,
        [
            'mariadb-dump',
            '--no-defaults',
            '-uroot',
            _socket(lab),
            '--all-databases',
            '--skip-lock-tables',
            '--hex-blob',
        ],
        log=None,
    )
