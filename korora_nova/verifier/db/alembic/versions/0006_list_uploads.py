# SPDX-License-Identifier: Apache-2.0
"""Measurement lists that are sent in parts, before they are judged."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = '0006'
down_revision = '0005'


def upgrade() -> None:
    op.create_table(
        'list_uploads',
        sa.Column('host', sa.String(255), primary_key=True),
        sa.Column('reset_count', sa.BigInteger(), nullable=False),
        sa.Column('base', sa.BigInteger(), nullable=False),
        sa.Column('upto', sa.BigInteger(), nullable=False),
        sa.Column('version', sa.String(36), nullable=False),
        sa.Column('updated_at', sa.Double(), nullable=False, index=True),
        mysql_engine='InnoDB',
        mysql_charset='utf8mb4',
        mysql_collate='utf8mb4_bin',
    )
    op.create_table(
        'list_upload_parts',
        sa.Column('host', sa.String(255), primary_key=True),
        sa.Column(
            'start', sa.BigInteger(), primary_key=True, autoincrement=False
        ),
        sa.Column('part', sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column(
            'content',
            sa.LargeBinary().with_variant(mysql.LONGBLOB(), 'mysql'),
            nullable=False,
        ),
        mysql_engine='InnoDB',
        mysql_charset='utf8mb4',
        mysql_collate='utf8mb4_bin',
    )
