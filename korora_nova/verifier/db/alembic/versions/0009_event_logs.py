# SPDX-License-Identifier: Apache-2.0
"""The firmware's log of each host, so that it need not be sent again."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = '0009'
down_revision = '0008'


def upgrade() -> None:
    with op.batch_alter_table('measurements') as batch:
        batch.add_column(sa.Column('uefi_digest', sa.String(64)))
        batch.add_column(
            sa.Column(
                'uefi_log',
                sa.LargeBinary().with_variant(mysql.LONGBLOB(), 'mysql'),
            )
        )
