# SPDX-License-Identifier: Apache-2.0
"""A database with many hosts: copies of those that really attested.

What attests costs the service the same CPU whether its neighbours enrolled or
were copied; enrolling 10,000 hosts takes an hour. All tables with a column of
hosts grow, so that indexes and purges have as much to do as in such a fleet.
"""

from __future__ import annotations

from typing import Any

from korora_tools.fleet import database

#: Copies in one statement.
_ROWS = 500


def grow(server: database.Server, name: str, hosts: int) -> int:
    """Copy the hosts of a database until it has so many; returns how many."""
    with server.cursor(name) as cursor:
        cursor.execute('SELECT COUNT(*) FROM hosts')
        real = int(cursor.fetchone()[0])
        missing = hosts - real
        # Numbers of copies, joined with each real row.
        cursor.execute(
            'CREATE TEMPORARY TABLE copies (n INT PRIMARY KEY) '
            'SELECT seq AS n FROM '
            f'seq_1_to_{max(1, missing // real)}'
        )
        cursor.execute('SET foreign_key_checks = 0')
        for table, column in _tables(cursor, name):
            cursor.execute(_copy(cursor, name, table, column))
        cursor.execute('SELECT COUNT(*) FROM hosts')
        return int(cursor.fetchone()[0])


def _tables(cursor: Any, name: str) -> list[tuple[str, str]]:
    """Tables that have rows of hosts, and the column that names the host."""
    cursor.execute(
        'SELECT table_name, column_name FROM information_schema.columns '
        'WHERE table_schema = %s AND ('
        "column_name = 'host' AND table_name NOT IN ('reference_values') "
        "OR (table_name, column_name) = ('hosts', 'name'))",
        (name,),
    )
    return [
        (table, column)
        for table, column in cursor.fetchall()
        if not _is_shared(table)
    ]


def _is_shared(table: str) -> bool:
    """References name the host that they were learned from."""
    return table.startswith('reference')


def _copy(cursor: Any, name: str, table: str, column: str) -> str:
    """The statement that copies a table's rows for each copy of a host."""
    cursor.execute(
        'SELECT c.column_name, c.character_maximum_length, c.extra, '
        'EXISTS (SELECT * FROM information_schema.statistics s WHERE '
        's.table_schema = c.table_schema AND s.table_name = c.table_name '
        'AND s.column_name = c.column_name AND s.non_unique = 0) '
        'FROM information_schema.columns c '
        'WHERE c.table_schema = %s AND c.table_name = %s',
        (name, table),
    )
    names, values = [], []
    for one, length, extra, unique in cursor.fetchall():
        if 'auto_increment' in extra:
            continue
        names.append(f'`{one}`')
        values.append(
            _name(one)
            if one == column
            else _other(one, length)
            if unique and length
            else f't.`{one}`'
        )
    return (
        f'INSERT INTO `{table}` ({", ".join(names)}) '
        f'SELECT {", ".join(values)} FROM `{table}` t, copies'
    )


def _name(column: str) -> str:
    return f"CONCAT('copy-', n, '-', t.`{column}`)"


def _other(column: str, length: int) -> str:
    """Another value of the same form: digests and names of TPMs, in hex."""
    digest = f'SHA2(CONCAT(t.`{column}`, n), 256)'
    made = f"CONCAT('000b', {digest})" if length == 68 else digest
    return f'IF(t.`{column}` IS NULL, NULL, LEFT({made}, {length}))'
