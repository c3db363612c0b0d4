# SPDX-License-Identifier: Apache-2.0
"""Custody rests on documents; see ADR 20.

What was in the ledger before is not taken along: nothing of it was deployed.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'

_OPTIONS: Any = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_bin',
}


def upgrade() -> None:
    for table in ('servers', 'migrations', 'receipts'):
        op.drop_table(table)
    _hosts()
    _servers()
    _migrations()
    _documents()
    with op.batch_alter_table('ledger') as ledger:
        ledger.drop_column('behind')


def _hosts() -> None:
    with op.batch_alter_table('hosts') as hosts:
        hosts.drop_column('receipt_head')
        hosts.drop_column('held')
        hosts.add_column(sa.Column('reported_at', sa.Double()))
        hosts.add_column(sa.Column('report_began', sa.Double()))
        hosts.add_column(
            sa.Column(
                'report_upto',
                sa.String(36),
                nullable=False,
                server_default='',
            )
        )
        hosts.add_column(sa.Column('evicted_at', sa.Double()))
        hosts.add_column(sa.Column('prior_boot_at', sa.Double()))


def _servers() -> None:
    op.create_table(
        'servers',
        sa.Column('instance', sa.String(36), primary_key=True),
        sa.Column('holder', sa.String(255), index=True),
        sa.Column('epoch', sa.BigInteger(), nullable=False),
        sa.Column('version', sa.BigInteger(), nullable=False),
        sa.Column('head', sa.String(64), nullable=False),
        sa.Column('pending', sa.String(36)),
        sa.Column('claim', sa.String(68)),
        sa.Column('released', sa.Boolean(), nullable=False),
        sa.Column('disputed', sa.String(36)),
        sa.Column('approval_kid', sa.String(16)),
        sa.Column('reported_at', sa.Double()),
        sa.Column('opened_boot', sa.String(16)),
        **_OPTIONS,
    )


def _migrations() -> None:
    op.create_table(
        'migrations',
        sa.Column('id', sa.String(36), primary_key=True),
        sa.Column('instance', sa.String(36), nullable=False, index=True),
        sa.Column('source', sa.String(255), nullable=False),
        sa.Column('dest', sa.String(255), nullable=False),
        sa.Column('status', sa.String(16), nullable=False, index=True),
        sa.Column('msk_name', sa.String(68), nullable=False, unique=True),
        sa.Column('ak_dest', sa.String(68), nullable=False),
        sa.Column('ak_source', sa.String(68)),
        sa.Column('address', sa.String(255), nullable=False),
        sa.Column('tls_name', sa.String(255), nullable=False),
        sa.Column('dest_issued', sa.Double(), nullable=False),
        sa.Column('dest_pcr_digest', sa.String(64), nullable=False),
        sa.Column('dest_reset_restart', sa.String(16), nullable=False),
        sa.Column('dest_clock_ms', sa.String(20), nullable=False),
        sa.Column('source_reset_restart', sa.String(16)),
        sa.Column('epoch', sa.BigInteger()),
        sa.Column('new_epoch', sa.BigInteger()),
        sa.Column('permit_hash', sa.String(64)),
        sa.Column('start_hash', sa.String(64)),
        sa.Column('key', sa.String(68)),
        sa.Column('source_word', sa.String(16)),
        sa.Column('dest_word', sa.String(16)),
        sa.Column('contradicted_at', sa.Double()),
        sa.Column('taint', sa.JSON(), nullable=False),
        sa.Column('created_at', sa.Double(), nullable=False),
        sa.Column('updated_at', sa.Double(), nullable=False),
        **_OPTIONS,
    )


def _documents() -> None:
    op.create_table(
        'documents',
        sa.Column('hash', sa.String(64), primary_key=True),
        sa.Column('instance', sa.String(36), nullable=False),
        sa.Column('version', sa.BigInteger(), nullable=False),
        sa.Column('kind', sa.String(32), nullable=False),
        sa.Column('subject', sa.String(36), nullable=False, index=True),
        sa.Column('kid', sa.String(16), nullable=False),
        sa.Column('seq', sa.BigInteger(), unique=True),
        sa.Column('stored_at', sa.Double(), nullable=False),
        sa.Column('token', sa.Text(), nullable=False),
        sa.Index('ix_documents_instance_version', 'instance', 'version'),
        **_OPTIONS,
    )
