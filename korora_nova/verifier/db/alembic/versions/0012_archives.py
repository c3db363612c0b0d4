# SPDX-License-Identifier: Apache-2.0
"""Archives of what the database does not keep."""

import sqlalchemy as sa
from alembic import op

revision = '0012'
down_revision = '0011'

INNODB = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_bin',
}


def upgrade() -> None:
    op.create_table(
        'archives',
        sa.Column('digest', sa.String(64), primary_key=True),
        sa.Column('kind', sa.String(16), nullable=False),
        sa.Column('row_count', sa.BigInteger(), nullable=False),
        sa.Column('first', sa.BigInteger(), nullable=False),
        sa.Column('last', sa.BigInteger(), nullable=False),
        sa.Column('head', sa.String(64), nullable=False),
        sa.Column('archived_at', sa.Double(), nullable=False),
        **INNODB,
    )
