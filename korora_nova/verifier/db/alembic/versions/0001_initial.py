# SPDX-License-Identifier: Apache-2.0
"""The first schema; inserts the ledger's single row."""

import uuid
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = '0001'
down_revision = None

_OPTIONS: Any = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_bin',
}
_DOCUMENT = sa.LargeBinary().with_variant(mysql.LONGBLOB(), 'mysql')


def upgrade() -> None:
    for create in (
        _hosts,
        _enrolments,
        _challenges,
        _measurements,
        _reference_values,
        _servers,
        _migrations,
        _receipts,
        _audit,
        _ledger,
        _counters,
    ):
        create()
    op.bulk_insert(
        sa.table(
            'ledger',
            *(
                sa.column(name)
                for name in (
                    'id',
                    'incarnation',
                    'head_seq',
                    'head_hash',
                    'behind',
                )
            ),
        ),
        [
            {
                'id': 1,
                'incarnation': str(uuid.uuid4()),
                'head_seq': 0,
                'head_hash': '0' * 64,
                'behind': '',
            }
        ],
    )
    op.bulk_insert(
        sa.table('counters', sa.column('name'), sa.column('value')),
        [{'name': 'results', 'value': 0}],
    )


def _hosts() -> None:
    op.create_table(
        'hosts',
        sa.Column('name', sa.String(255), primary_key=True),
        sa.Column('ek_hash', sa.String(64), nullable=False, unique=True),
        sa.Column('approved', sa.Boolean(), nullable=False),
        sa.Column('ek_name', sa.String(68), unique=True),
        sa.Column('ak_public', sa.LargeBinary()),
        sa.Column('ak_name', sa.String(68), unique=True),
        sa.Column('srk_name', sa.String(68)),
        sa.Column('enrolled_at', sa.Double()),
        sa.Column('version', sa.BigInteger(), nullable=False),
        sa.Column('clock_ms', sa.String(20)),
        sa.Column('reset_count', sa.BigInteger()),
        sa.Column('restart_count', sa.BigInteger()),
        sa.Column('clock_safe', sa.Boolean()),
        sa.Column('attested_at', sa.Double()),
        sa.Column('tier', sa.String(16)),
        sa.Column('reasons', sa.JSON(), nullable=False),
        sa.Column('token', sa.Text()),
        sa.Column('issued', sa.Double()),
        sa.Column('expires', sa.Double()),
        sa.Column('seq', sa.BigInteger(), nullable=False),
        sa.Column('receipt_head', sa.String(64), nullable=False),
        sa.Column('held', sa.JSON(), nullable=False),
        **_OPTIONS,
    )
    op.create_index('ix_hosts_seq', 'hosts', ['seq'])


def _enrolments() -> None:
    op.create_table(
        'enrolments',
        sa.Column('secret_hash', sa.String(64), primary_key=True),
        sa.Column('host', sa.String(255), nullable=False),
        sa.Column('ek_hash', sa.String(64), nullable=False),
        sa.Column('ek_name', sa.String(68), nullable=False),
        sa.Column('ak_public', sa.LargeBinary(), nullable=False),
        sa.Column('ak_name', sa.String(68), nullable=False),
        sa.Column('srk_name', sa.String(68), nullable=False),
        sa.Column('expires', sa.Double(), nullable=False),
        sa.Column('used', sa.Boolean(), nullable=False),
        **_OPTIONS,
    )
    op.create_index('ix_enrolments_host', 'enrolments', ['host'])


def _challenges() -> None:
    op.create_table(
        'challenges',
        sa.Column('challenge', sa.String(64), primary_key=True),
        sa.Column('host', sa.String(255), nullable=False),
        sa.Column('challenge_class', sa.String(16), nullable=False),
        sa.Column('issued', sa.Double(), nullable=False),
        sa.Column('expires', sa.Double(), nullable=False),
        sa.Column('used', sa.Boolean(), nullable=False),
        **_OPTIONS,
    )
    op.create_index(
        'ix_challenges_host_expires', 'challenges', ['host', 'expires']
    )


def _measurements() -> None:
    op.create_table(
        'measurements',
        sa.Column('host', sa.String(255), primary_key=True),
        sa.Column('pcr_digest', sa.String(64), nullable=False),
        sa.Column('document', _DOCUMENT, nullable=False),
        sa.Column('measured_at', sa.Double(), nullable=False),
        **_OPTIONS,
    )


def _reference_values() -> None:
    op.create_table(
        'reference_values',
        sa.Column('name', sa.String(255), primary_key=True),
        sa.Column('uuid', sa.String(36), nullable=False, unique=True),
        sa.Column('host', sa.String(255), nullable=False),
        sa.Column('document', _DOCUMENT, nullable=False),
        sa.Column('created_at', sa.Double(), nullable=False),
        **_OPTIONS,
    )


def _servers() -> None:
    op.create_table(
        'servers',
        sa.Column('instance', sa.String(36), primary_key=True),
        sa.Column('holder', sa.String(255)),
        sa.Column('epoch', sa.BigInteger(), nullable=False),
        sa.Column('max_epoch', sa.BigInteger(), nullable=False),
        sa.Column('pending', sa.String(36)),
        **_OPTIONS,
    )
    op.create_index('ix_servers_holder', 'servers', ['holder'])


def _migrations() -> None:
    op.create_table(
        'migrations',
        sa.Column('id', sa.String(36), primary_key=True),
        sa.Column('instance', sa.String(36), nullable=False),
        sa.Column('source', sa.String(255), nullable=False),
        sa.Column('dest', sa.String(255), nullable=False),
        sa.Column('status', sa.String(16), nullable=False),
        sa.Column('msk_name', sa.String(68), nullable=False, unique=True),
        sa.Column('ak_dest', sa.String(68), nullable=False),
        sa.Column('ak_source', sa.String(68)),
        sa.Column('address', sa.String(255), nullable=False),
        sa.Column('tls_name', sa.String(255), nullable=False),
        sa.Column('dest_issued', sa.Double(), nullable=False),
        sa.Column('dest_pcr_digest', sa.String(64), nullable=False),
        sa.Column('dest_reset_restart', sa.String(16), nullable=False),
        sa.Column('dest_clock_ms', sa.String(20), nullable=False),
        sa.Column('epoch', sa.BigInteger()),
        sa.Column('new_epoch', sa.BigInteger()),
        sa.Column('permit_hash', sa.String(64)),
        sa.Column('taint', sa.JSON(), nullable=False),
        sa.Column('created_at', sa.Double(), nullable=False),
        sa.Column('updated_at', sa.Double(), nullable=False),
        **_OPTIONS,
    )
    op.create_index('ix_migrations_instance', 'migrations', ['instance'])


def _receipts() -> None:
    op.create_table(
        'receipts',
        sa.Column('hash', sa.String(64), primary_key=True),
        sa.Column('seq', sa.BigInteger(), nullable=False),
        sa.Column('chained', sa.Boolean(), nullable=False),
        sa.Column('subject', sa.String(64), nullable=False),
        sa.Column('token', sa.Text(), nullable=False),
        **_OPTIONS,
    )
    op.create_index('ix_receipts_seq', 'receipts', ['seq'])
    op.create_index('ix_receipts_subject', 'receipts', ['subject'])


def _audit() -> None:
    op.create_table(
        'audit',
        sa.Column(
            'id',
            sa.BigInteger().with_variant(sa.Integer(), 'sqlite'),
            primary_key=True,
        ),
        sa.Column('at', sa.Double(), nullable=False),
        sa.Column('actor', sa.String(255), nullable=False),
        sa.Column('action', sa.String(64), nullable=False),
        sa.Column('subject', sa.String(255), nullable=False),
        sa.Column('note', sa.Text(), nullable=False),
        **_OPTIONS,
    )


def _ledger() -> None:
    op.create_table(
        'ledger',
        sa.Column('id', sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column('incarnation', sa.String(36), nullable=False),
        sa.Column('head_seq', sa.BigInteger(), nullable=False),
        sa.Column('head_hash', sa.String(64), nullable=False),
        sa.Column('behind', sa.Text(), nullable=False),
        **_OPTIONS,
    )


def _counters() -> None:
    op.create_table(
        'counters',
        sa.Column('name', sa.String(32), primary_key=True),
        sa.Column('value', sa.BigInteger(), nullable=False),
        **_OPTIONS,
    )
