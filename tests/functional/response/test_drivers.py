# SPDX-License-Identifier: Apache-2.0
"""What drivers do: Nova's API, a bus, an HTTPS server."""

import hashlib
import hmac
import http.server
import json
import os
import pathlib
import ssl
import threading
import uuid

import fixtures
import oslo_messaging
import testtools
from oslo_config import cfg

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.response.drivers import base, events
from korora_nova.response.drivers.disable import mark, owner
from korora_nova.response.drivers.notify import Notify
from korora_nova.response.drivers.webhook import Webhook
from korora_nova.verifier.db import models
from korora_nova.verifier.responses.words import FLEET, Response, State
from tests.functional.response.base import HOSTS, ResponseTestCase
from tests.support import tls

TRUSTED = {'korora:trusted_host': 'required'}
KEY = b'k' * 40


def response(host='h1', state=State.DUE):
    return Response(
        id=str(uuid.UUID(int=7)),
        host=host,
        driver='x',
        state=state,
        reasons=['PCR_NOT_GOLDEN'],
        why='',
        detail={},
        attempts=1,
        error='',
        created_at=0.0,
        updated_at=60.0,
        due_at=0.0,
        actor='',
        note='',
    )


SCENE = base.Scene(lambda: None, lambda host: (), lambda servers: ())


class MarkTest(testtools.TestCase):
    def test_marks(self):
        one = response()
        self.assertEqual(one.id, owner(mark(one)))
        self.assertFalse(mark(one).startswith('AUTO: '))
        for other in ('', 'mine', f'see {mark(one)}', 'korora response x: y'):
            self.assertEqual('', owner(other))

    def test_no_longer_than_nova_takes(self):
        many = Response(**{**vars(response()), 'reasons': ['R' * 60] * 9})
        self.assertEqual(255, len(mark(many)))
        self.assertEqual(many.id, owner(mark(many)))


class MovesTest(ResponseTestCase):
    """Drivers "abort" and "drain"."""

    def custody(self, server, holder):
        with self.korora.service.db.write() as session:
            session.add(
                models.Server(
                    instance=server,
                    holder=holder,
                    epoch=1,
                    version=1,
                    head='00' * 32,
                )
            )

    def test_abort(self):
        made = self.started('abort')
        from_, to, plain, elsewhere = (
            self.nova.add_server('h1') for _ in range(4)
        )
        for server in (from_, to, elsewhere):
            self.custody(server, 'h1')
        self.nova.add_migration(from_, 'h1', 'h2')
        self.nova.add_migration(to, 'h2', 'h1')
        self.nova.add_migration(plain, 'h1', 'h2')
        self.nova.add_migration(elsewhere, 'h2', 'h3')
        self.nova.add_migration(from_, 'h1', 'h2', 'completed')
        self.all.lose(made, 'h1')
        self.assertEqual(
            {('abort', from_), ('abort', to)}, set(self.nova.calls)
        )
        self.assertEqual(
            sorted((from_, to)), self.one('h1', 'abort')['detail']['ended']
        )
        self.all.turns(made, 3)
        self.assertEqual(2, len(self.nova.calls))
        self.all.regain(made, 'h1')
        self.assertEqual('undone', self.state('h1', 'abort'))

    def test_one_that_ended_by_itself(self):
        made = self.started('abort')
        server = self.nova.add_server('h1')
        self.custody(server, 'h1')
        self.nova.add_migration(server, 'h1', 'h2', 'preparing')
        self.all.lose(made, 'h1')
        self.assertEqual('done', self.state('h1', 'abort'))

    def test_drain(self):
        made = self.started('drain', drain_batch=2)
        servers = sorted(
            self.nova.add_server('h1', specs=TRUSTED) for _ in range(5)
        )
        plain = self.nova.add_server('h1')
        keyed = self.nova.add_server('h1', specs=TRUSTED)
        off = self.nova.add_server('h1', specs=TRUSTED, status='SHUTOFF')
        self.custody(keyed, 'h1')
        self.all.lose(made, 'h1')
        self.assertEqual(2, len(self.nova.calls))
        self.all.turns(made, 3)
        self.assertEqual(2, len(self.nova.calls))
        for _ in range(9):
            for server, row in self.nova.servers.items():
                if row[1] == 'migrating':
                    self.nova.arrive(server, 'h2')
            self.all.turns(made, 2)
        self.assertEqual(
            [('migrate', one) for one in servers], self.nova.calls
        )
        row = self.one('h1', 'drain')
        self.assertEqual('done', row['state'])
        self.assertEqual(servers, row['detail']['left'])
        self.assertEqual(sorted((keyed, off)), row['detail']['stay'])
        self.assertEqual('h1', self.nova.servers[plain][0])

    def test_a_server_that_cannot_leave_is_not_sent_without_end(self):
        made = self.started('drain')
        server = self.nova.add_server('h1', specs=TRUSTED)
        self.all.lose(made, 'h1')
        for _ in range(20):
            # The migration fails.
            self.nova.servers[server][1] = None
            self.all.turns(made, 2)
        self.assertEqual([('migrate', server)] * 3, self.nova.calls)
        row = self.one('h1', 'drain')
        self.assertEqual(
            ('done', [server]), (row['state'], row['detail']['stay'])
        )

    def test_revert_stops_it(self):
        made = self.started('drain', drain_batch=1)
        for _ in range(3):
            self.nova.add_server('h1', specs=TRUSTED)
        self.all.lose(made, 'h1')
        self.admin.revert_responses('enough')
        for _ in range(3):
            for server, row in self.nova.servers.items():
                if row[1] == 'migrating':
                    self.nova.arrive(server, 'h2')
            self.all.turns(made, 3)
        self.assertEqual(1, len(self.nova.calls))

    def test_many_servers(self):
        made = self.started('drain', drain_batch=999)
        for _ in range(450):
            self.nova.add_server('h1', specs=TRUSTED)
        self.all.lose(made, 'h1')
        self.assertEqual(450, len(set(self.nova.calls)))

    def test_a_cell_that_does_not_answer(self):
        made = self.started()
        self.all.lose(made, 'h1')
        marked = dict(self.nova.services['h1'])
        self.nova.services['h1'] = {
            'binary': 'nova-compute',
            'host': 'h1',
            'status': 'UNKNOWN',
        }
        self.all.turns(made, 5)
        self.assertEqual('done', self.state('h1'))
        self.all.regain(made, 'h1')
        self.assertEqual('undoing', self.state('h1'))
        self.nova.services['h1'] = marked
        self.all.turns(made, 20)
        self.assertEqual({}, self.nova.disabled())


class NotifyTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.conf = cfg.ConfigOpts()
        self.conf([])
        options.register_response_opts(self.conf)
        self.set('notification_url', 'fake://')

    def set(self, name, value):
        self.conf.set_override(name, value, options.RESPONSE)

    def listen(self):
        got = []
        transport = oslo_messaging.get_notification_transport(
            self.conf, url='fake://'
        )

        class Endpoint:
            def _take(self, ctxt, publisher, event, payload, metadata):
                got.append((event, payload, metadata['message_id']))

            warn = info = error = _take

        listener = oslo_messaging.get_notification_listener(
            transport,
            [oslo_messaging.Target(topic='attestation_notifications')],
            [Endpoint()],
            executor='threading',
        )
        listener.start()
        self.addCleanup(listener.wait)
        self.addCleanup(listener.stop)
        return got

    def wait(self, got, count):
        end = threading.Event()
        for _ in range(100):
            if len(got) >= count:
                return
            end.wait(0.1)
        self.fail(f'{got}')

    def test_events(self):
        driver = Notify(self.conf)
        got = self.listen()
        driver.do(response(), SCENE)
        driver.do(response(), SCENE)
        driver.undo(response(), SCENE)
        driver.do(response(FLEET), SCENE)
        driver.undo(response(FLEET), SCENE)
        self.wait(got, 5)
        self.assertEqual(
            [
                'host.trust.lost',
                'host.trust.lost',
                'host.trust.regained',
                'responses.held',
                'responses.resumed',
            ],
            [event for event, _, _ in sorted(got, key=lambda one: one[0])],
        )
        payload = next(one for event, one, _ in got if event.endswith('lost'))
        self.assertEqual(
            ('TrustPayload', 'korora', '1.0'),
            tuple(
                payload[f'korora_object.{name}']
                for name in ('name', 'namespace', 'version')
            ),
        )
        self.assertEqual(
            {
                'event': 'host.trust.lost',
                'id': events.of(response(), undone=False).id,
                'response': response().id,
                'host': 'h1',
                'reasons': ['PCR_NOT_GOLDEN'],
                'message': '',
                'decided_at': '1970-01-01T00:01:00+00:00',
            },
            payload['korora_object.data'],
        )
        # What is told twice can be told from what happened twice.
        self.assertEqual(4, len({id for _, _, id in got}))

    def test_a_bus_that_does_not_take_it(self):
        driver = Notify(self.conf)
        self.useFixture(
            fixtures.MockPatchObject(
                driver._sender.transport,
                '_send_notification',
                side_effect=OSError('amqp://user:secret@h'),
            )
        )
        caught = self.assertRaises(
            errors.Unavailable, driver.do, response(), SCENE
        )
        self.assertEqual('BUS_UNAVAILABLE', caught.reason)
        self.assertNotIn('secret', str(caught))

    def test_no_url(self):
        self.set('notification_url', None)
        self.assertRaises(errors.Unavailable, Notify, self.conf)


class Receiver(http.server.BaseHTTPRequestHandler):
    status = 204
    got: list = []
    delay = threading.Event()

    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        type(self).got.append((dict(self.headers), body))
        if type(self).status == 0:
            type(self).delay.wait(5)
            return
        self.send_response(type(self).status)
        if 300 <= type(self).status < 400:
            self.send_header('Location', 'https://127.0.0.1:1/')
        self.end_headers()

    def log_message(self, *args):
        pass


class WebhookTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.files = tls.Files(str(self.directory))
        Receiver.got, Receiver.status = [], 204
        Receiver.delay = threading.Event()
        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Receiver)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.files.server, self.files.server_key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        self.addCleanup(Receiver.delay.set)
        key = self.directory / 'key'
        key.write_bytes(KEY + b'\n')
        self.conf = cfg.ConfigOpts()
        self.conf([])
        options.register_response_opts(self.conf)
        self.set(
            webhook_url=f'https://127.0.0.1:{server.server_port}/hook?t=secret',
            webhook_key_file=str(key),
            webhook_ca_file=self.files.authority,
        )

    def set(self, **values):
        for name, value in values.items():
            self.conf.set_override(name, value, options.RESPONSE)

    def refused(self, reason='WEBHOOK_UNAVAILABLE'):
        def post():
            Webhook(self.conf).do(response(), SCENE)

        caught = self.assertRaises(errors.Unavailable, post)
        self.assertEqual(reason, caught.reason)
        self.assertNotIn('secret', str(caught) + str(caught.details))
        return caught

    def test_a_signed_post(self):
        Webhook(self.conf).do(response(), SCENE)
        Webhook(self.conf).undo(response(), SCENE)
        headers, body = Receiver.got[0]
        signed = headers['Korora-Timestamp'].encode() + b'.' + body
        self.assertEqual(
            'v1=' + hmac.new(KEY, signed, hashlib.sha256).hexdigest(),
            headers['Korora-Signature'],
        )
        told = json.loads(body)['korora_object.data']
        self.assertEqual(
            (told['event'], told['id']),
            (headers['Korora-Event'], headers['Korora-Delivery']),
        )
        self.assertEqual(
            'host.trust.regained', Receiver.got[1][0]['Korora-Event']
        )

    def test_what_is_no_answer(self):
        for status in (301, 404, 500):
            Receiver.status = status
            self.refused()

    def test_a_receiver_that_hangs(self):
        Receiver.status = 0
        self.set(webhook_timeout=0.5)
        self.refused()

    def test_a_receiver_that_nobody_vouches_for(self):
        self.set(webhook_ca_file=None)
        self.refused()
        self.assertEqual([], Receiver.got)

    def test_options(self):
        for wrong in (
            {'webhook_url': 'http://127.0.0.1/'},
            {'webhook_url': None},
            {'webhook_key_file': '/nonexistent'},
        ):
            before = {name: self.conf.response[name] for name in wrong}
            self.set(**wrong)
            self.refused('RESPONSE_DRIVER')
            self.set(**before)
        os.truncate(self.conf.response.webhook_key_file, 31)
        self.refused('RESPONSE_DRIVER')


class LoadingTest(ResponseTestCase):
    def test_one_that_does_not_exist(self):
        caught = self.assertRaises(
            errors.Unavailable, self.all.process, 'nosuch'
        )
        self.assertEqual('RESPONSE_DRIVER', caught.reason)

    def test_what_is_off_still_undoes(self):
        made = self.started()
        self.all.lose(made, 'h1')
        made.lease.give_up()
        other = self.all.process('told')
        self.all.regain(other, 'h1')
        self.assertEqual({}, self.nova.disabled())
        self.assertEqual(6, len(HOSTS))
