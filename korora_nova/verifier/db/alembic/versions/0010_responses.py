# SPDX-License-Identifier: Apache-2.0
"""What is done about hosts that lost their trust, and who does it."""

import sqlalchemy as sa
from alembic import op

revision = '0010'
down_revision = '0009'

_TABLE = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_bin',
}


def upgrade() -> None:
    op.create_table(
        'responses',
        sa.Column('id', sa.String(36), primary_key=True),
        sa.Column('host', sa.String(255), nullable=False),
        sa.Column('driver', sa.String(64), nullable=False),
        sa.Column('closed', sa.String(36), nullable=False),
        sa.Column('state', sa.String(16), nullable=False, index=True),
        sa.Column('reasons', sa.JSON(), nullable=False),
        sa.Column('why', sa.Text(), nullable=False),
        sa.Column('detail', sa.JSON(), nullable=False),
        sa.Column('attempts', sa.Integer(), nullable=False),
        sa.Column('error', sa.Text(), nullable=False),
        sa.Column('created_at', sa.Double(), nullable=False),
        sa.Column('updated_at', sa.Double(), nullable=False, index=True),
        sa.Column('due_at', sa.Double(), nullable=False),
        sa.Column('acted_at', sa.Double(), index=True),
        sa.Column('actor', sa.String(255), nullable=False),
        sa.Column('note', sa.Text(), nullable=False),
        sa.UniqueConstraint(
            'host', 'driver', 'closed', name='uniq_responses0open'
        ),
        **_TABLE,
    )
    op.create_table(
        'response_hosts',
        sa.Column('host', sa.String(255), primary_key=True),
        sa.Column('lost', sa.Boolean(), nullable=False),
        sa.Column('streak', sa.Integer(), nullable=False),
        sa.Column('seen', sa.Double(), nullable=False),
        **_TABLE,
    )
    lease = op.create_table(
        'response_lease',
        sa.Column('id', sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column('holder', sa.String(255), nullable=False),
        sa.Column('term', sa.BigInteger(), nullable=False),
        sa.Column('version', sa.BigInteger(), nullable=False),
        sa.Column('until', sa.Double(), nullable=False),
        sa.Column('hold_since', sa.Double()),
        sa.Column('hold_why', sa.Text(), nullable=False),
        sa.Column('resumed_at', sa.Double(), nullable=False),
        **_TABLE,
    )
    op.bulk_insert(
        lease,
        [
            {
                'id': 1,
                'holder': '',
                'term': 0,
                'version': 0,
                'until': 0.0,
                'hold_since': None,
                'hold_why': '',
                'resumed_at': 0.0,
            }
        ],
    )
