# SPDX-License-Identifier: Apache-2.0
"""What a request changed, so that the same one is answered the same.

And which receipts that hosts reported are still to be settled.
"""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'


def upgrade() -> None:
    op.add_column('challenges', sa.Column('request', sa.String(64)))
    op.add_column('challenges', sa.Column('answer', sa.Text()))
    op.add_column(
        'receipts',
        sa.Column(
            'settled', sa.Boolean(), nullable=False, server_default=sa.true()
        ),
    )
    op.add_column('servers', sa.Column('claim', sa.String(68)))
    op.add_column('migrations', sa.Column('permit', sa.Text()))
