# SPDX-License-Identifier: Apache-2.0
"""What hosts may start while the service cannot be reached."""

import sqlalchemy as sa
from alembic import op

revision = '0013'
down_revision = '0012'


def upgrade() -> None:
    for column in (
        sa.Column('offline_until', sa.Double()),
        sa.Column('offline_servers', sa.Integer()),
        sa.Column('offline_boot', sa.String(16)),
    ):
        op.add_column('hosts', column)
