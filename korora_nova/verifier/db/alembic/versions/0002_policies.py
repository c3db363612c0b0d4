# SPDX-License-Identifier: Apache-2.0
"""Policies, what hosts measured in segments, findings beside results.

What was kept of hosts' last evidence is dropped: it was of another form,
and every host brings it again with its next attestation.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = '0002'
down_revision = '0001'

_OPTIONS: Any = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_bin',
}
_DOCUMENT = sa.LargeBinary().with_variant(mysql.LONGBLOB(), 'mysql')


def upgrade() -> None:
    op.add_column('hosts', sa.Column('findings', sa.JSON()))
    op.drop_table('measurements')
    for create in (
        _measurements,
        _measurement_segments,
        _policies,
        _policy_parts,
    ):
        create()


def _measurements() -> None:
    op.create_table(
        'measurements',
        sa.Column('host', sa.String(255), primary_key=True),
        sa.Column('fingerprint', sa.String(64), nullable=False),
        sa.Column('reset_count', sa.BigInteger(), nullable=False),
        sa.Column('document', _DOCUMENT, nullable=False),
        sa.Column('ima_states', _DOCUMENT, nullable=False),
        sa.Column('measured_at', sa.Double(), nullable=False),
        **_OPTIONS,
    )


def _measurement_segments() -> None:
    op.create_table(
        'measurement_segments',
        sa.Column('host', sa.String(255), primary_key=True),
        sa.Column(
            'start', sa.BigInteger(), primary_key=True, autoincrement=False
        ),
        sa.Column('part', sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column('content', _DOCUMENT, nullable=False),
        **_OPTIONS,
    )


def _policies() -> None:
    op.create_table(
        'policies',
        sa.Column('name', sa.String(255), primary_key=True),
        sa.Column('uuid', sa.String(36), nullable=False, unique=True),
        sa.Column('revision', sa.BigInteger(), nullable=False),
        sa.Column('summary', sa.JSON(), nullable=False),
        sa.Column('created_at', sa.Double(), nullable=False),
        sa.Column('updated_at', sa.Double(), nullable=False),
        sa.Column('actor', sa.String(255), nullable=False),
        **_OPTIONS,
    )


def _policy_parts() -> None:
    op.create_table(
        'policy_parts',
        sa.Column('uuid', sa.String(36), primary_key=True),
        sa.Column(
            'revision', sa.BigInteger(), primary_key=True, autoincrement=False
        ),
        sa.Column('seq', sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column('content', _DOCUMENT, nullable=False),
        **_OPTIONS,
    )
