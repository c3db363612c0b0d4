# SPDX-License-Identifier: Apache-2.0
"""What a host attested last of its nova-compute."""

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'


def upgrade() -> None:
    op.add_column('hosts', sa.Column('enforcer', sa.JSON()))
    op.add_column('hosts', sa.Column('enforcer_at', sa.Double()))
