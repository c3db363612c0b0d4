# SPDX-License-Identifier: Apache-2.0
"""Create or upgrade the schema with alembic."""

from __future__ import annotations

import pathlib

import sqlalchemy as sa
from alembic import command, config, script
from alembic.runtime import migration

_SCRIPTS = pathlib.Path(__file__).parent / 'alembic'


def _config() -> config.Config:
    made = config.Config()
    made.set_main_option('script_location', str(_SCRIPTS).replace('%', '%%'))
    return made


def upgrade(engine: sa.Engine, revision: str = 'head') -> None:
    """Bring the schema to a revision; does nothing if it is there."""
    cfg = _config()
    with engine.begin() as connection:
        cfg.attributes['connection'] = connection
        command.upgrade(cfg, revision)


def current(engine: sa.Engine) -> str | None:
    """Revision of the schema; None in an empty database."""
    with engine.connect() as connection:
        return migration.MigrationContext.configure(
            connection
        ).get_current_revision()


def head() -> str | None:
    """Revision that this code needs."""
    return script.ScriptDirectory.from_config(_config()).get_current_head()
