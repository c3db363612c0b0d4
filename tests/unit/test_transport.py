# SPDX-License-Identifier: Apache-2.0
"""Answers that do not end, from a real socket."""

import gzip
import socket
import threading
import time
from unittest import mock

import fixtures
import testtools

from korora_nova import client, errors, spans, transport
from korora_nova import conf as options

TIMEOUT = 0.4
#: Far more than an answer in time can take.
LONG = 5.0
BODY = b'{"hosts": []}'


def head(*lines, status='200 OK'):
    return '\r\n'.join((f'HTTP/1.1 {status}', *lines, '', '')).encode()


WHOLE = head(f'Content-Length: {len(BODY)}') + BODY


class Peer(threading.Thread):
    """Serves one connection after the other.

    :param answers: functions of a connection, called for one request each.
    """

    def __init__(self, answers):
        super().__init__(daemon=True)
        self.answers = answers
        self.connections = 0
        self.sent = 0
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.url = f'http://127.0.0.1:{self.listener.getsockname()[1]}'

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                try:
                    self.serve(connection)
                except OSError:
                    continue

    def serve(self, connection):
        while self.answers:
            request = b''
            while b'\r\n\r\n' not in request:
                received = connection.recv(65536)
                if not received:
                    return
                request += received
            if self.answers.pop(0)(self, connection) is not None:
                return

    def send(self, connection, content):
        connection.sendall(content)
        self.sent += len(content)


def whole(content):
    def answer(peer, connection):
        peer.send(connection, content)

    return answer


def endless(first, drop, wait=TIMEOUT / 10):
    """``first``, and then ``drop`` again and again, for too long."""

    def answer(peer, connection):
        peer.send(connection, first)
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            peer.send(connection, drop)
            time.sleep(wait)
        return True

    return answer


class Base(testtools.TestCase):
    def serve(self, *answers):
        self.peer = Peer(list(answers))
        self.addCleanup(self.peer.listener.close)
        self.peer.start()
        conf = options.parse([], [])
        options.register_attester_opts(conf)
        for name, value in (
            ('auth_type', 'none'),
            ('endpoint_override', self.peer.url),
            ('timeout', TIMEOUT),
        ):
            conf.set_override(name, value, options.SERVICE_AUTH)
        self.client = client.from_conf(conf, options.SERVICE_AUTH)
        self.client._timeout = TIMEOUT

    def refused(self):
        began = time.monotonic()
        error = self.assertRaises(errors.Unavailable, self.client.list_hosts)
        self.assertEqual('SERVICE_UNAVAILABLE', error.reason)
        self.assertLess(time.monotonic() - began, LONG)


class TestSpans(Base):
    def test_request_is_counted_and_carries_the_trace(self):
        heads = []

        def answer(peer, connection):
            peer.send(connection, WHOLE)
            return True

        self.serve(answer)
        send = transport.ks_session.TCPKeepAliveAdapter.send

        def sent(adapter, request, *args, **kwargs):
            heads.append(dict(request.headers))
            return send(adapter, request, *args, **kwargs)

        self.useFixture(
            fixtures.MonkeyPatch(
                'keystoneauth1.session.TCPKeepAliveAdapter.send', sent
            )
        )
        self.useFixture(
            fixtures.MonkeyPatch('korora_nova.spans._exporter', mock.Mock())
        )
        with spans.span('ask') as span:
            self.client.list_hosts()
        self.assertEqual({'http': 1}, dict(span.counts))
        self.assertIn(span.id, heads[0][spans.TRACEPARENT])


class TestTime(Base):
    def test_drops(self):
        chunked = head('Transfer-Encoding: chunked')
        for first, drop in (
            (b'', b'H'),
            (b'HTTP/1.1 200 OK\r\nX: ', b'x'),
            (b'HTTP/1.1 200 OK\r\n', b'X: x\r\n'),
            (b'', head(status='100 Continue')),
            (head('Content-Length: 100000'), b' '),
            (head(), b' '),
            (chunked, b'1\r\n \r\n'),
            (chunked + b'1;', b'x'),
            (head('Content-Length: 100000', status='500 Oh'), b' '),
        ):
            self.serve(endless(first, drop))
            self.refused()

    def test_silence(self):
        self.serve(endless(b'', b'', wait=LONG))
        self.refused()

    def test_each_answer_has_its_own_time(self):
        """Also on a connection that is used again."""

        def slow(peer, connection):
            time.sleep(TIMEOUT * 0.6)
            peer.send(connection, WHOLE)

        self.serve(slow, slow, slow, slow)
        for _ in range(4):
            self.assertEqual([], self.client.list_hosts())
        self.assertEqual(1, self.peer.connections)

    def test_after_an_answer_that_was_given_up(self):
        self.serve(endless(head(), b' '), whole(WHOLE))
        self.refused()
        self.assertEqual([], self.client.list_hosts())


class TestSize(Base):
    def test_too_long(self):
        blanks = b' ' * (1 << 20)
        for first in (
            head(),
            head(f'Content-Length: {1 << 40}'),
            head(status='500 Oh'),
        ):
            self.serve(endless(first, blanks, wait=0))
            self.client._timeout = 60
            self.refused()
            # What the sockets hold is not read.
            self.assertLess(self.peer.sent, 2 * transport.MAX_BODY)

    def test_packed(self):
        """What it is unpacked counts."""
        packed = gzip.compress(BODY + b' ' * transport.MAX_BODY)
        self.serve(
            whole(
                head(
                    'Content-Encoding: gzip', f'Content-Length: {len(packed)}'
                )
                + packed
            )
        )
        self.client._timeout = 60
        self.refused()

    def test_as_long_as_it_may_be(self):
        body = BODY + b' ' * (transport.MAX_BODY - len(BODY))
        self.serve(whole(head(f'Content-Length: {len(body)}') + body))
        self.client._timeout = 60
        self.assertEqual([], self.client.list_hosts())

    def test_broken(self):
        for answer in (
            head('Content-Length: 100') + BODY,
            head('Transfer-Encoding: chunked') + b'zz\r\n',
            head('Content-Encoding: gzip', 'Content-Length: 2') + b'xx',
            head(f'Content-Length: {len(BODY)}', status='302 No') + BODY,
            b'rubbish\r\n\r\n',
            b'',
        ):

            def hang_up(peer, connection, answer=answer):
                peer.send(connection, answer)
                return True

            self.serve(hang_up)
            self.refused()
