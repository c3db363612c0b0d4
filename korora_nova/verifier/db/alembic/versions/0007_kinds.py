# SPDX-License-Identifier: Apache-2.0
"""What Nova does with a server while its key is handed over."""

import sqlalchemy as sa
from alembic import op

revision = '0007'
down_revision = '0006'


def upgrade() -> None:
    op.add_column(
        'migrations',
        sa.Column(
            'kind', sa.String(16), nullable=False, server_default='live'
        ),
    )
