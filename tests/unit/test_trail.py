# SPDX-License-Identifier: Apache-2.0
"""Whose doing something is: told on, and in every record."""

from __future__ import annotations

import io
import json
import logging
import threading

import testtools
from oslo_config import cfg
from oslo_context import context
from oslo_log import formatters

from korora_nova import conf as options
from korora_nova import spans, trail, transport

NOVA = 'req-0b1c2d3e-4f50-4a6b-8c7d-9e0f1a2b3c4d'
TRACE = '0b1c2d3e4f504a6b8c7d9e0f1a2b3c4d'
FROM = f'00-{TRACE}-{"c" * 16}-01'
SERVER = '11111111-2222-4333-8444-555555555555'
MIGRATION = '99999999-2222-4333-8444-555555555555'


class Case(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        within = trail.scope()
        within.__enter__()
        self.addCleanup(within.__exit__, None, None, None)
        vars(context._request_store).pop('context', None)


class IdsTest(Case):
    def test_nobody(self) -> None:
        self.assertEqual('', trail.request_id())
        self.assertEqual({}, trail.carrier())
        self.assertEqual({}, transport.identity())

    def test_nova(self) -> None:
        """Its own id, which it shows, not that of whoever called it."""
        context.RequestContext(
            request_id=NOVA, global_request_id=f'req-{SERVER}'
        )
        self.assertEqual(NOVA, trail.request_id())
        self.assertEqual(
            {
                'traceparent': f'00-{TRACE}-{TRACE[16:]}-00',
                'X-OpenStack-Request-ID': NOVA,
            },
            transport.identity(),
        )

    def test_there_and_on(self) -> None:
        """An agent that is told goes on telling."""
        with trail.following(FROM):
            current = context.get_current()
            self.assertEqual(NOVA, current.global_request_id)
            self.assertNotEqual(NOVA, current.request_id)
            self.assertEqual(NOVA, trail.headers()[trail.HEADER])
            said = spans.carrier()['traceparent']
        with trail.following(said):
            self.assertEqual(NOVA, trail.request_id())
        self.assertIsNone(context.get_current())

    def test_what_an_agent_does_by_itself_has_an_id_of_its_own(self) -> None:
        with trail.following():
            own = trail.request_id()
            self.assertEqual(context.get_current().request_id, own)
        with trail.following():
            self.assertNotEqual(own, trail.request_id())

    def test_callers_say_anything(self) -> None:
        for said in (
            '',
            'x' * 10_000,
            f'00-{TRACE}',
            FROM + '\n',
            FROM.upper(),
            f'01-{TRACE}-{"c" * 16}-01',
            'ä' * 32,
        ):
            with trail.following(said):
                self.assertIsNone(context.get_current().global_request_id)

    def test_ids_that_are_no_ids_are_not_told_on(self) -> None:
        for said in ('x', NOVA + '\n', NOVA + '\r\nX-Roles: admin', 'req-'):
            context.RequestContext(request_id=said)
            self.assertEqual({}, transport.identity())

    def test_a_thread_is_left_as_it_was(self) -> None:
        nova = context.RequestContext(request_id=NOVA)
        with testtools.ExpectedException(ValueError):
            with trail.following(FROM):
                raise ValueError
        self.assertIs(nova, context.get_current())

    def test_threads_do_not_see_each_other(self) -> None:
        seen: list[str] = []
        with trail.following(FROM):
            thread = threading.Thread(
                target=lambda: seen.append(trail.request_id())
            )
            thread.start()
            thread.join()
        self.assertEqual([''], seen)

    def test_nova_contexts_are_not_written_to(self) -> None:
        nova = context.RequestContext(request_id=NOVA)
        trail.note(instance=SERVER, migration=MIGRATION)
        self.assertFalse(hasattr(nova, 'migration'))


class RecordsTest(Case):
    def logged(self, formatter: logging.Formatter) -> str:
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(formatter)
        logger = logging.Logger('korora_nova.x')
        logger.addHandler(handler)
        with trail.following(FROM, instance=SERVER):
            trail.note(migration=MIGRATION)
            # What is not known says nothing.
            trail.note(instance='', migration='')
            logger.warning('It %s', 'works')
        return stream.getvalue()

    def test_json(self) -> None:
        found = json.loads(self.logged(formatters.JSONFormatter()))['context']
        self.assertEqual(
            (NOVA, SERVER, MIGRATION),
            (
                found['global_request_id'],
                found['instance_uuid'],
                found['migration'],
            ),
        )

    def test_text(self) -> None:
        conf = options.parse([], [])
        line = self.logged(formatters.ContextFormatter(config=conf))
        self.assertRegex(
            line,
            rf'\[{NOVA} req-[0-9a-f-]+ {MIGRATION} .*\] '
            rf'\[instance: {SERVER}\] It works',
        )

    def test_text_without_anything_known(self) -> None:
        conf = options.parse([], [])
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(formatters.ContextFormatter(config=conf))
        logger = logging.Logger('korora_nova.x')
        logger.addHandler(handler)
        logger.warning('first')
        with trail.following():
            logger.warning('second')
        self.assertIn('first', stream.getvalue())
        self.assertRegex(stream.getvalue(), r'\[None req-[0-9a-f-]+ - ')

    def test_an_operator_chooses_another_format(self) -> None:
        conf = cfg.ConfigOpts()
        options.parse([], [], conf=conf)
        conf.set_override('logging_context_format_string', '%(message)s')
        line = self.logged(formatters.ContextFormatter(config=conf))
        self.assertEqual('It works\n', line)
