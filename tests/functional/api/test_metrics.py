# SPDX-License-Identifier: Apache-2.0
"""What Prometheus and balancers are told of a service and its fleet."""

from __future__ import annotations

import importlib
import os
import pathlib
import sys
import threading
import time
import uuid
from unittest import mock

import fixtures
import sqlalchemy as sa
import webob
from prometheus_client import parser

from korora_nova import errors, metrics
from korora_nova.api import health as api_health
from korora_nova.verifier import figures, health, hosts, results
from korora_nova.verifier.db import models
from korora_nova.wsgi import exposition
from tests.functional.api import base

Samples = dict[tuple[str, ...], float]


def read(text: str) -> Samples:
    """(name, values of labels, sorted by their names) -> value."""
    return {
        (one.name, *(value for _, value in sorted(one.labels.items()))): (
            one.value
        )
        for family in parser.text_string_to_metric_families(text)
        for one in family.samples
    }


class Scraped(base.ApiTestCase):
    """A service, and what it exports."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.addCleanup(metrics.stop)

    def scrape(self) -> str:
        """By a process of its own, which has read nothing before."""
        app = exposition.Application(
            exposition.Collector(self.korora.service, str(self.directory))
        )
        answer = webob.Request.blank('/metrics').get_response(app)
        self.assertEqual(200, answer.status_code)
        return answer.text

    def samples(self) -> Samples:
        return read(self.scrape())

    def put(self, name: str, **changed: object) -> None:
        """A host as the database may have it."""
        now = self.korora.clock()
        row = {
            'name': name,
            'ek_hash': uuid.uuid4().hex,
            'ak_name': uuid.uuid4().hex,
            'approved': True,
            'tier': 'affirming',
            'token': 'x',
            'issued': now,
            'expires': now + 180,
            'enforcer': {
                'driver': 'd',
                'version': '1',
                'drift': '',
                'seen': 0,
            },
            'enforcer_at': now,
            **changed,
        }
        with self.korora.service.db.write() as session:
            session.add(models.Host(**row))


class Fleet:
    def test_a_fleet(self) -> None:
        source, dest = self.host('source'), self.host('dest')
        self.stranger('pending').enrol()
        self.admin.approve_host('preloaded', 'ab' * 32)
        bad = self.host('bad')
        bad.tpm.extend(4, b'\1' * 32)
        bad.attest_now()
        instance = str(uuid.uuid4())
        source.claim(instance)
        self.moved(source, dest, instance)
        found = self.samples()
        self.assertEqual(
            {
                ('approved', 'affirming'): 2,
                ('approved', 'contraindicated'): 1,
                ('pending', 'none'): 1,
                ('preloaded', 'none'): 1,
            },
            {
                key[1:]: value
                for key, value in found.items()
                if key[0] == 'korora_hosts' and value
            },
        )
        self.assertEqual(1, found['korora_servers', 'held'])
        self.assertEqual(0, found['korora_servers', 'disputed'])
        self.assertEqual(0, found['korora_open_handovers', 'moving'])
        self.assertEqual(
            {1.0}, {found['korora_usable', one] for one in health.CHECKS}
        )
        self.assertEqual(3, found['korora_result_age_seconds_gcount',])
        self.assertEqual(2, found['korora_enforcing_hosts',])

    def test_it_says_what_the_api_says(self) -> None:
        """Of hosts in every state that a row can have."""
        now = self.korora.clock()
        for number, changed in enumerate(
            (
                {},
                {'expires': now - 1},
                {'issued': now + 100},
                {'issued': None, 'expires': None, 'tier': None},
                {'approved': False, 'tier': None, 'expires': None},
                {'ak_name': None, 'tier': None, 'expires': None},
                {'evicted_at': now},
                {'tier': 'contraindicated', 'reasons': ['IMA_VIOLATION']},
                {
                    'tier': 'contraindicated',
                    'reasons': ['IMA_VIOLATION', 'NO_POLICY', 'SITE "x'],
                },
                {'enforcer': None, 'enforcer_at': None},
                {'enforcer_at': now - 1000},
                {
                    'enforcer': {
                        'driver': 'd',
                        'version': '1',
                        'drift': 'NOVA_DRIFT',
                        'seen': 0,
                    }
                },
            )
        ):
            self.put(f'h{number}', **changed)
        listed = hosts.list_hosts(self.korora.service, hosts.Query()).items
        found = figures.read(self.korora.service)
        wanted: dict[tuple[str, ...], float] = {}
        for host in listed:
            key = host.status, str(host.tier)
            wanted[key] = wanted.get(key, 0) + 1
        self.assertEqual(
            wanted,
            {k: v for k, v in found.values[figures.HOSTS].items() if v},
        )
        self.assertEqual(
            sum(
                host.enforcing
                for host in listed
                if (host.status, host.tier) == ('approved', 'affirming')
            ),
            found.values[figures.ENFORCING][()],
        )
        reasons: dict[tuple[str, ...], float] = {}
        for host in listed:
            if host.status in ('approved', 'preloaded'):
                for reason in host.reasons:
                    key = (metrics.known(reason),)
                    reasons[key] = reasons.get(key, 0) + 1
        self.assertEqual(reasons, dict(found.values[figures.REASONS]))

    def test_ages(self) -> None:
        now = self.korora.clock()
        for age in (1, 10, 40, 100, 10_000):
            self.put(f'h{age}', issued=now - age)
        found = self.samples()
        self.assertEqual(
            (2, 3, 4, 5),
            tuple(
                found['korora_result_age_seconds_bucket', bound]
                for bound in ('15', '60', '3600', '+Inf')
            ),
        )
        self.assertAlmostEqual(
            10_000, found['korora_result_age_max_seconds',], delta=5
        )

    def test_a_hand_over_that_is_stuck(self) -> None:
        source, dest = self.host('source'), self.host('dest')
        instance = str(uuid.uuid4())
        source.claim(instance)
        self.moving(source, dest, instance)
        self.korora.clock.advance(1000)
        found = self.samples()
        self.assertEqual(1, found['korora_open_handovers', 'moving'])
        self.assertGreater(
            found['korora_open_handover_age_max_seconds',], 1000
        )
        self.assertEqual(1, found['korora_servers', 'pending'])

    def test_an_empty_database(self) -> None:
        found = self.samples()
        self.assertEqual(0, found['korora_hosts', 'approved', 'affirming'])
        self.assertEqual(0, found['korora_ledger_documents_total',])

    def test_statements_do_not_grow(self) -> None:
        engine, seen = self.korora.service.db.engine, []

        def note(connection, cursor, statement, *more) -> None:
            if statement.startswith('SELECT'):
                seen.append(statement)

        sa.event.listen(engine, 'before_cursor_execute', note)
        self.addCleanup(sa.event.remove, engine, 'before_cursor_execute', note)
        for count in (0, 30):
            for number in range(count):
                self.put(f'h{number}')
            seen.clear()
            figures.read(self.korora.service)
            self.assertEqual(4, len(seen), seen)


class SqliteTest(Fleet, Scraped):
    pass


class MariaDbTest(Fleet, base.MariaDbTestCase, Scraped):
    pass


class PostgreSqlTest(Fleet, base.PostgreSqlTestCase, Scraped):
    pass


class SecrecyTest(Scraped):
    def test_no_name_and_no_secret(self) -> None:
        metrics.start(str(self.directory), metrics.API)
        source, dest = self.host('source-1'), self.host('dest-1')
        instance = str(uuid.uuid4())
        source.claim(instance)
        migration = self.moved(source, dest, instance)
        metrics.write()
        text = self.scrape()
        self.assertIn('korora_api_requests_total', text)
        for name in (
            'source-1',
            'dest-1',
            instance,
            migration,
            'eyJ',
            'BEGIN',
        ):
            self.assertNotIn(name, text)

    def test_every_family_is_told(self) -> None:
        text = self.scrape()
        for family in (*figures.FAMILIES, exposition.USABLE):
            self.assertIn(f'# HELP {family.name}', text)


class CountedTest(Scraped):
    def setUp(self) -> None:
        super().setUp()
        metrics.start(str(self.directory), metrics.API)

    def test_requests_and_refusals(self) -> None:
        self.admin.list_hosts()
        with self.refused('HOST_UNKNOWN'):
            self.admin.get_host('h1')
        self.korora.request('GET', '/v1/hosts', roles=None)
        self.korora.request('GET', '/nowhere')
        self.host('h1')
        metrics.write()
        found = self.samples()
        worker = '0'
        self.assertEqual(
            (1, 1, 1, 1),
            tuple(
                found['korora_api_requests_total', code, handler, worker]
                for code, handler in (
                    ('200', 'list_hosts'),
                    ('404', 'show_host'),
                    ('401', 'none'),
                    ('404', 'none'),
                )
            ),
        )
        self.assertEqual(
            1, found['korora_api_refusals_total', 'HOST_UNKNOWN', worker]
        )
        self.assertEqual(
            1,
            found[
                'korora_api_request_duration_seconds_count',
                'list_hosts',
                worker,
            ],
        )
        self.assertGreaterEqual(
            found[
                'korora_api_attestations_total', 'attest', 'affirming', worker
            ],
            1,
        )

    def test_what_workers_wrote_is_one_metric(self) -> None:
        self.admin.list_hosts()
        metrics.write()
        mine = self.directory / 'korora-api-0.prom'
        (self.directory / 'korora-api-1.prom').write_text(
            mine.read_text().replace('worker="0"', 'worker="1"')
        )
        text = self.scrape()
        self.assertEqual(1, text.count('# TYPE korora_api_requests_total'))
        found = read(text)
        for worker in '01':
            self.assertEqual(
                1,
                found[
                    'korora_api_requests_total', '200', 'list_hosts', worker
                ],
            )

    def test_a_damaged_file_takes_nothing_else_along(self) -> None:
        self.admin.list_hosts()
        metrics.write()
        (self.directory / 'korora-api-7.prom').write_bytes(b'\xff{{{ 1 2 3\n')
        (self.directory / 'korora-api-8.prom').write_text('a{b="c 1\n')
        (self.directory / 'korora-api-9.prom').mkdir()
        found = self.samples()
        self.assertIn(
            ('korora_api_requests_total', '200', 'list_hosts', '0'), found
        )
        self.assertIn(('korora_usable', 'database'), found)


class HealthTest(Scraped):
    def check(self, **headers: str) -> webob.Response:
        return self.korora.request(
            'GET', '/healthcheck', roles=None, headers=headers
        )

    def again(self) -> None:
        """What was found is forgotten."""
        self.korora.restart()

    def test_all_is_well_and_no_token_is_needed(self) -> None:
        answer = self.check()
        self.assertEqual(
            (200, 'keys OK, database OK, anchor OK'),
            (answer.status_code, answer.text),
        )
        self.assertEqual(
            ['keys OK, database OK, anchor OK'],
            self.check(Accept='application/json').json['reasons'],
        )

    def test_no_anchor(self) -> None:
        """Hosts can attest: a balancer must not take all workers away."""
        os.unlink(f'{self.korora.directory}/anchor.db')
        self.again()
        answer = self.check()
        self.assertEqual(200, answer.status_code)
        self.assertIn('anchor ANCHOR_', answer.text)
        self.assertEqual(0, self.samples()['korora_usable', 'anchor'])

    def test_no_keys(self) -> None:
        os.unlink(self.korora.keys_file)
        answer = self.check()
        self.assertEqual(503, answer.status_code)
        self.assertIn('keys KEYS_INVALID', answer.text)

    def test_no_database(self) -> None:
        with mock.patch.object(
            results,
            'reached',
            side_effect=errors.Unavailable('DATABASE_UNAVAILABLE'),
        ):
            answer = self.check()
            found = self.samples()
        self.assertEqual(503, answer.status_code)
        self.assertIn('database DATABASE_UNAVAILABLE', answer.text)
        # Nobody knows.
        self.assertIn('anchor ANCHOR_UNAVAILABLE', answer.text)
        self.assertEqual(0, found['korora_usable', 'database'])
        self.assertFalse([key for key in found if key[0] == 'korora_hosts'])

    def test_a_database_that_hangs_costs_one_thread(self) -> None:
        go_on = threading.Event()
        self.addCleanup(go_on.set)
        looks = []

        def hang(session) -> None:
            looks.append(1)
            go_on.wait(30)

        clock = mock.Mock(return_value=0.0)
        found = health.Health(self.korora.service, clock)
        with (
            mock.patch.object(results, 'reached', hang),
            mock.patch.object(health, 'PATIENCE', 0.2),
        ):
            self.assertEqual(
                ['', 'DATABASE_UNAVAILABLE', 'ANCHOR_UNAVAILABLE'],
                [one.reason for one in found.current()],
            )
            # Whoever asks later does not wait at all.
            clock.return_value = 100.0
            began = time.monotonic()
            for _ in range(50):
                found.current()
            self.assertLess(time.monotonic() - began, 50 * 0.2)
            self.assertEqual(1, len(looks))

    def test_it_is_looked_at_once_in_a_while(self) -> None:
        clock = mock.Mock(return_value=0.0)
        found = health.Health(self.korora.service, clock)
        with mock.patch.object(
            results, 'reached', wraps=results.reached
        ) as looked:
            for _ in range(10):
                found.current()
            self.assertEqual(1, looked.call_count)
            clock.return_value = health.REUSE + 1
            found.current()
            self.assertEqual(2, looked.call_count)

    def test_a_backend_that_is_not_installed_is_no_good_news(self) -> None:
        self.useFixture(fixtures.FakeLogger())
        with mock.patch.object(
            api_health.healthcheck.stevedore, 'NamedExtensionManager'
        ) as manager:
            manager.return_value = []
            self.again()
        self.assertEqual(503, self.check().status_code)

    def test_only_this_path_is_open(self) -> None:
        for path in ('/healthcheck/', '/healthcheck/x', '/v1/healthcheck'):
            answer = self.korora.request('GET', path, roles=None)
            self.assertEqual(401, answer.status_code, path)


class DeployTest(Scraped):
    def test_the_application_of_a_web_server(self) -> None:
        directory = self.korora.directory
        pathlib.Path(directory, 'korora.conf').write_text(
            f"""
[DEFAULT]
use_stderr = false
[database]
connection = sqlite:///{directory}/korora.db
[verifier]
keys_dir = {directory}
trusted_keys = {directory}/keys.json
ek_roots = {directory}
metrics_dir = {self.directory}
"""
        )
        self.useFixture(
            fixtures.EnvironmentVariable('KORORA_CONFIG_DIR', directory)
        )
        self.useFixture(fixtures.FakeLogger())
        sys.modules.pop('korora_nova.wsgi.metrics', None)
        module = importlib.import_module('korora_nova.wsgi.metrics')
        self.addCleanup(sys.modules.pop, 'korora_nova.wsgi.metrics')
        answer = webob.Request.blank('/metrics').get_response(
            module.application
        )
        self.assertIn('korora_usable{what="database"} 1.0', answer.text)
        # It reads there; it writes nothing.
        self.assertEqual([], os.listdir(self.directory))
        for path in ('/', '/v1/hosts'):
            answer = webob.Request.blank(path).get_response(module.application)
            self.assertEqual(404, answer.status_code)
