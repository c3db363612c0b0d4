# SPDX-License-Identifier: Apache-2.0
"""What other verifiers say of hosts."""

import sqlalchemy as sa
from alembic import op

revision = '0011'
down_revision = '0010'

INNODB = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_bin',
}


def upgrade() -> None:
    op.create_table(
        'source_verdicts',
        sa.Column('host', sa.String(255), primary_key=True),
        sa.Column('source', sa.String(64), primary_key=True),
        sa.Column('tier', sa.String(16), nullable=False),
        sa.Column('reasons', sa.JSON(), nullable=False),
        sa.Column('subject', sa.String(255), nullable=False),
        sa.Column('issued', sa.Double(), nullable=False),
        sa.Column('expires', sa.Double(), nullable=False),
        sa.Column('asked_at', sa.Double(), nullable=False),
        **INNODB,
    )
    op.create_table(
        'source_subjects',
        sa.Column('source', sa.String(64), primary_key=True),
        sa.Column('subject', sa.String(255), primary_key=True),
        sa.Column('ek_name', sa.String(68), nullable=False),
        sa.Column('agrees', sa.Boolean(), nullable=False),
        sa.Column('count', sa.BigInteger(), nullable=False),
        sa.Column('read_at', sa.Double(), nullable=False),
        **INNODB,
    )
