# SPDX-License-Identifier: Apache-2.0
"""Alerts about the service itself."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from typing import Any

import sqlalchemy as sa

from tests.runbooks import base


class ServiceTest(base.RunbookCase):
    def on_each_statement(self, what: Any) -> Any:
        """Something happens at each statement, until it is undone."""
        engine = self.korora.service.db.engine
        sa.event.listen(engine, 'before_cursor_execute', what)
        return lambda: sa.event.remove(engine, 'before_cursor_execute', what)

    def test_kororaservicedown(self) -> None:
        """Nobody listens; that is all that Prometheus knows."""
        alert = 'KororaServiceDown'
        self.fires(alert, self.scrape(), self.scrape(up=0))
        self.quiet(alert, self.scrape())
        self.tried(alert)

    def test_kororaunusable(self) -> None:
        alert = 'KororaUnusable'
        before, keys = self.scrape(), self.korora.keys_file
        shutil.move(keys, f'{keys}.away')
        self.fires(alert, before, self.scrape())
        self.typed('korora-manage keys status', code=1)
        shutil.move(f'{keys}.away', keys)
        self.assertIn('active', self.typed('korora-manage keys status'))
        self.quiet(alert, self.scrape())
        self.tried(alert)

    def test_kororaunusable_anchor(self) -> None:
        before, path = self.scrape(), f'{self.korora.directory}/anchor.db'
        os.rename(path, f'{path}.away')
        self.korora.restart()
        self.fires('KororaUnusable', before, self.scrape())

    def test_kororaapierrors(self) -> None:
        alert = 'KororaApiErrors'
        self.admin.list_hosts()
        before = self.scrape()
        path = f'{self.korora.directory}/korora.db'
        self.korora.service.db.engine.dispose()
        os.rename(path, f'{path}.away')
        os.mkdir(path)
        for _ in range(5):
            with self.refused('DATABASE_UNAVAILABLE'):
                self.admin.list_hosts()
        os.rmdir(path)
        os.rename(f'{path}.away', path)
        self.fires(alert, before, self.scrape())
        self.admin.list_hosts()
        self.quiet(alert, self.scrape())
        self.tried(alert)

    def test_kororaapislow(self) -> None:
        alert = 'KororaApiSlow'
        host = self.host('h1')
        before = self.scrape()
        once = [True]

        def wait(*_: object) -> None:
            if once:
                once.pop()
                time.sleep(2.6)

        # The challenge is a request of its own.
        challenge = host.challenge()
        undo = self.on_each_statement(wait)
        host.say('attest', challenge, known=[])
        undo()
        self.fires(alert, before, self.scrape())
        self.tried(alert)

    def test_kororaledgerwentback(self) -> None:
        alert = 'KororaLedgerWentBack'
        path = f'{self.korora.directory}/korora.db'
        host = self.host('h1')
        shutil.copy(path, f'{path}.old')
        for _ in range(2):
            host.claim(str(uuid.uuid4()))
        self.typed('korora-manage audit verify')
        before = self.scrape()
        shutil.copy(f'{path}.old', path)
        self.korora.restart()
        host.offset = 0
        self.fires(alert, before, self.scrape())
        host.heal()
        self.typed('korora-manage audit verify')
        self.quiet(alert, self.scrape())
        self.fires_not_any_more(alert, before)
        self.tried(alert)

    def fires_not_any_more(self, alert: str, before: Any) -> None:
        """As many documents as before: hosts have shown theirs."""
        now = self.scrape()
        name = next(
            one
            for one in now.samples
            if one.startswith('korora_ledger_documents_total')
        )
        self.assertGreaterEqual(now.samples[name], before.samples[name])
