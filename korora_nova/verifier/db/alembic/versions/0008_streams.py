# SPDX-License-Identifier: Apache-2.0
"""The certificate that was signed last for a host's stream."""

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'


def upgrade() -> None:
    with op.batch_alter_table('hosts') as batch:
        batch.add_column(sa.Column('tls_name', sa.String(68)))
        batch.add_column(sa.Column('tls_serial', sa.String(40)))
        batch.add_column(sa.Column('tls_until', sa.Double()))
        batch.add_column(sa.Column('tls_authority', sa.String(16)))
        batch.create_unique_constraint('uniq_hosts0tls_name', ['tls_name'])
