# SPDX-License-Identifier: Apache-2.0
"""Under which approval key the copy of each server's holder rests."""

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'


def upgrade() -> None:
    op.add_column('servers', sa.Column('approval_kid', sa.String(16)))
