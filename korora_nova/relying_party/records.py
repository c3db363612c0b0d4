# SPDX-License-Identifier: Apache-2.0
"""What Nova's database says, by way of the conductor.

Any compute host can write there: good for finding things, not for trust.
"""

from __future__ import annotations

from typing import Any

from nova import context as nova_context
from nova import objects


def servers_of(host: str) -> Any:
    """All servers of a host."""
    return objects.InstanceList.get_by_host(
        nova_context.get_admin_context(),
        host,
        expected_attrs=['flavor', 'system_metadata'],
    )


def live_migrations(context: Any, instance: Any) -> Any:
    """Live migrations of a server that are under way."""
    return objects.MigrationList.get_in_progress_by_instance(
        context.elevated(), instance.uuid, 'live-migration'
    )


def destination(context: Any, instance: Any) -> str:
    """The host to which a server is being migrated or resized."""
    migration = objects.Migration.get_by_id(
        context.elevated(), instance.migration_context.migration_id
    )
    return str(migration.dest_compute)
