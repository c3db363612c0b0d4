# SPDX-License-Identifier: Apache-2.0
"""The local socket: framing, peers, and what an answer may say."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import os
import pathlib
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import testtools

from korora_nova import errors, spans
from korora_nova.attester import server, socket_client
from korora_nova.custody import answers, operations
from korora_nova.secret import Secret
from tests.support import fakes

CANARY = 'c2VjcmV0IGNhbmFyeQ=='
SERVER = '6b6f726f-7261-4000-8000-000000000001'
MOVE = '6b6f726f-7261-4000-8000-000000000002'
KEY = {'secret_uuid': SERVER, 'epoch': 1}


@dataclasses.dataclass(frozen=True)
class Named(operations.Fields):
    """An answer."""

    host: str = 'h1'


def named(request: operations.Request) -> Named:
    return Named()


def done(request: operations.Request) -> answers.Done:
    return answers.Done()


class Base(testtools.TestCase):
    take = staticmethod(fakes.take)

    def setUp(self) -> None:
        super().setUp()
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.path = str(pathlib.Path(scratch.name) / 'agent.sock')
        self.log = io.StringIO()
        handler = logging.StreamHandler(self.log)
        logger = logging.getLogger('korora_nova.attester.server')
        logger.addHandler(handler)
        self.addCleanup(logger.removeHandler, handler)

    def serve(
        self, uid: int | None = None, **handlers: Any
    ) -> socket_client.AgentClient:
        allowed = os.getuid() if uid is None else uid
        made = server.Server(
            self.path, frozenset({allowed}), handlers, self.take
        )
        made.start()
        self.addCleanup(made.stop)
        return socket_client.AgentClient(self.path, 30)

    def reason(self, call: Any, *args: Any, **kw: Any) -> str:
        error = self.assertRaises(errors.KororaError, call, *args, **kw)
        self.assertNotIn('canary', str(error.details))
        return error.reason


class SocketTest(Base):
    def test_answer(self) -> None:
        client = self.serve(status=named)
        self.assertEqual({'host': 'h1'}, client.call('status'))

    def test_error_keeps_its_class_and_details(self) -> None:
        def attest(request: operations.Request) -> Any:
            raise errors.Untrusted(
                errors.Reason.HOST_UNTRUSTED, details={'reasons': 'X'}
            )

        client = self.serve(attest=attest)
        error = self.assertRaises(errors.Untrusted, client.call, 'attest')
        self.assertEqual({'reasons': 'X'}, error.details)

    def test_unexpected_error_says_nothing_of_the_request(self) -> None:
        """T5: the passphrase on the bus, in logs or on disk."""

        def seal(request: operations.Seal) -> Any:
            raise RuntimeError(request.passphrase.reveal())

        client = self.serve(seal=seal)
        reason = self.reason(
            client.call,
            'seal',
            instance=SERVER,
            secret_uuid=SERVER,
            passphrase=CANARY,
        )
        self.assertEqual(errors.Reason.INTERNAL, reason)
        self.assertIn('RuntimeError at', self.log.getvalue())
        self.assertNotIn(CANARY, self.log.getvalue())

    def test_schema_violation_says_nothing_of_the_request(self) -> None:
        client = self.serve(seal=done)
        reason = self.reason(
            client.call, 'seal', passphrase=CANARY, instance='x'
        )
        self.assertEqual(errors.Reason.INVALID_REQUEST, reason)
        self.assertNotIn(CANARY, self.log.getvalue())

    def test_request_to_seal_is_not_read(self) -> None:
        """T5: the agent passes it on before the passphrase is here."""
        heads: list[bytes] = []
        left: list[bytes] = []

        @contextlib.contextmanager
        def take(
            connection: socket.socket, head: bytes, length: int
        ) -> Iterator[tuple[Any, str]]:
            heads.append(head)
            left.append(socket_client.receive(connection, length))
            yield operations.Seal(SERVER, SERVER, Secret(b'x')), ''

        self.take = take  # type: ignore
        client = self.serve(seal=named)
        fields = {'instance': SERVER, 'passphrase': CANARY}
        self.assertEqual({'host': 'h1'}, client.call('seal', **fields))
        self.assertEqual([b'{"version": 1, "op": "seal"'], heads)
        (rest,) = left
        self.assertEqual(
            {'version': 1, 'op': 'seal', **fields}, json.loads(heads[0] + rest)
        )

    def test_request_to_seal_of_somebody_elses(self) -> None:
        """It would have to be read to see what it is."""
        self.serve(seal=named)
        body = {'op': 'seal', 'version': 1, 'passphrase': CANARY}
        text = json.dumps(body).encode()
        said = self.raw(struct.pack('>I', len(text)) + text)
        assert said is not None
        self.assertEqual('INVALID_REQUEST', said['error']['reason'])
        self.assertNotIn(CANARY, str(said))

    def test_request_to_seal_that_is_too_long(self) -> None:
        client = self.serve(seal=named)
        reason = self.reason(client.call, 'seal', passphrase='A' * (1 << 15))
        self.assertEqual(errors.Reason.TOO_LARGE, reason)

    def test_connection_ends_after_a_request_to_seal(self) -> None:
        """Of one that failed, something may be left on it."""
        self.serve(seal=named)
        body = b'{"version": 1, "op": "seal"'
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(self.path)
            connection.sendall(struct.pack('>I', len(body)) + body)
            (size,) = struct.unpack('>I', connection.recv(4))
            self.assertIn(
                'INTERNAL', socket_client.receive(connection, size).decode()
            )
            self.assertEqual(b'', connection.recv(1))

    def test_unknown_operation(self) -> None:
        client = self.serve(status=done)
        for op in ('shutdown', 'attest', '__init__'):
            self.assertEqual(
                errors.Reason.INVALID_REQUEST, self.reason(client.call, op)
            )

    def test_peer_must_be_allowed(self) -> None:
        called: list[int] = []
        client = self.serve(
            uid=os.getuid() + 1, status=lambda _: called.append(1)
        )
        self.assertEqual(
            errors.Reason.PEER_DENIED, self.reason(client.call, 'status')
        )
        self.assertEqual([], called)

    def test_strangers_do_not_keep_out_nova(self) -> None:
        client = self.serve(status=named)
        uids = iter([os.getuid() + 1] * server.MAX_CONNECTIONS)
        with mock.patch.object(
            server, 'peer_uid', lambda _: next(uids, os.getuid())
        ):
            for _ in range(server.MAX_CONNECTIONS):
                silent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self.addCleanup(silent.close)
                silent.connect(self.path)
            self.assertEqual({'host': 'h1'}, client.call('status'))

    def test_goes_on_when_threads_run_out(self) -> None:
        client = self.serve(status=named)
        with (
            mock.patch.object(
                server.threading.Thread, 'start', side_effect=RuntimeError
            ),
            mock.patch.object(server, '_PAUSE_SECONDS', 0),
        ):
            self.assertEqual(
                errors.Reason.AGENT_UNAVAILABLE,
                self.reason(client.call, 'status'),
            )
        self.assertEqual({'host': 'h1'}, client.call('status'))

    def test_nobody_home(self) -> None:
        """Where it was looked for, and what was found there."""
        client = socket_client.AgentClient(self.path, 1)
        error = self.assertRaises(errors.Unavailable, client.call, 'status')
        self.assertEqual(errors.Reason.AGENT_UNAVAILABLE, error.reason)
        self.assertIn(self.path, error.message)
        self.assertIn('No such file or directory', error.message)

    def test_somebody_else_home(self) -> None:
        for answer in (b'5', b'{"version": 2}', b'{"version": 1}', b'<html>'):
            with mock.patch.object(
                socket_client.AgentClient, '_exchange', return_value=answer
            ):
                client = socket_client.AgentClient(self.path, 1)
                error = self.assertRaises(
                    errors.Unavailable, client.call, 'status'
                )
            self.assertEqual(errors.Reason.AGENT_UNAVAILABLE, error.reason)
            self.assertIn(self.path, error.message)
            self.assertNotIn('html', error.message)

    def test_silence_ends_with_the_timeout(self) -> None:
        over = threading.Event()
        self.addCleanup(over.set)
        client = self.serve(status=lambda _: over.wait(10) and Named())
        self.assertEqual(
            errors.Reason.AGENT_UNAVAILABLE,
            self.reason(client.call, 'status', timeout=0.2),
        )
        error = self.assertRaises(
            errors.Unavailable, client.call, 'status', timeout=0.2
        )
        self.assertIn('it took too long', error.message)

    def test_drops_end_with_the_timeout(self) -> None:
        """An agent that always has one more byte."""

        def drip() -> None:
            connection, _ = peer.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(struct.pack('>I', 1000))
                for _ in range(1000):
                    connection.sendall(b' ')
                    time.sleep(0.05)

        with socket.socket(socket.AF_UNIX) as peer:
            peer.bind(self.path)
            peer.listen()
            threading.Thread(target=drip, daemon=True).start()
            client = socket_client.AgentClient(self.path, 0.3)
            began = time.monotonic()
            error = self.assertRaises(
                errors.Unavailable, client.call, 'status'
            )
        self.assertLess(time.monotonic() - began, 5)
        self.assertIn('it took too long', error.message)

    def raw(self, content: bytes) -> dict[str, Any] | None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(self.path)
            connection.sendall(content)
            header = connection.recv(4)
            if not header:
                return None
            size = struct.unpack('>I', header)[0]
            text = socket_client.receive(connection, size)
        answer: dict[str, Any] = json.loads(text)
        return answer

    def test_frames(self) -> None:
        self.serve(status=done)
        too_long = self.raw(struct.pack('>I', (1 << 20) + 1))
        assert too_long is not None
        self.assertEqual('TOO_LARGE', too_long['error']['reason'])
        for body in (b'\xff\xfe', b'[]', b'{"version": 1}', b'{"op": 1}'):
            answer = self.raw(struct.pack('>I', len(body)) + body)
            assert answer is not None
            self.assertEqual(
                'INVALID_REQUEST', answer['error']['reason'], body
            )

    def test_many_requests_on_one_connection(self) -> None:
        self.serve(status=named)
        body = b'{"version": 1, "op": "status"}'
        frame = struct.pack('>I', len(body)) + body
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.path)
            for _ in range(3):
                connection.sendall(frame)
                size = struct.unpack(
                    '>I', socket_client.receive(connection, 4)
                )[0]
                answer = json.loads(socket_client.receive(connection, size))
                self.assertEqual(
                    {'version': 1, 'ok': True, 'host': 'h1'}, answer
                )

    def test_stale_socket_is_replaced(self) -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(self.path)
        client = self.serve(status=done)
        self.assertEqual({}, client.call('status'))

    def test_gone_after_stop(self) -> None:
        made = server.Server(self.path, frozenset({0}), {}, self.take)
        made.start()
        made.stop()
        self.assertFalse(os.path.exists(self.path))

    def test_strange_answers(self) -> None:
        client = socket_client.AgentClient(self.path, 1)
        for text in (
            b'nonsense',
            b'[]',
            b'{"version": 2, "ok": true}',
            b'{"version": 1}',
            b'{"version": 1, "ok": 1}',
            b'{"version": 1, "error": 7}',
        ):
            client._exchange = lambda *_, text=text: text
            self.assertEqual(
                errors.Reason.AGENT_UNAVAILABLE,
                self.reason(client.call, 'status'),
                text,
            )

    def test_answers_that_follow_no_schema(self) -> None:
        """An agent of another kind is no agent, not a KeyError."""
        client = socket_client.AgentClient(self.path, 1)
        for fields in ({}, {'epoch': 1}, {**KEY, 'more': 1}, {'epoch': 'x'}):
            text = json.dumps({'version': 1, 'ok': True, **fields}).encode()
            client._exchange = lambda *_, text=text: text
            self.assertEqual(
                errors.Reason.AGENT_UNAVAILABLE,
                self.reason(client.open, SERVER),
                text,
            )

    def test_uids(self) -> None:
        self.assertEqual(
            frozenset({0, 4242}),
            server.uids(['root', '4242', 'no-such-user']),
        )


class SpansTest(Base):
    """The agent goes on with nova-compute's trace."""

    def setUp(self) -> None:
        super().setUp()
        self.ended: list[spans.Span] = []
        exporter = mock.Mock(end=self.ended.append)
        patch = mock.patch.object(spans, '_exporter', exporter)
        patch.start()
        self.addCleanup(patch.stop)

    def test_trace_goes_on(self) -> None:
        client = self.serve(announce=done)
        with spans.span('precheck', instance='other') as above:
            client.announce(SERVER)
        inner = self.ended[0]
        self.assertEqual('agent.announce', inner.name)
        self.assertEqual(
            (above.trace, above.id, {'instance': SERVER}),
            (inner.trace, inner.parent, inner.attributes),
        )
        self.assertEqual({'agent': 1}, dict(above.counts))

    def test_refusal_is_the_outcome(self) -> None:
        def announce(request: operations.Request) -> Any:
            raise errors.CustodyError(errors.Reason.VAULT_STATE)

        client = self.serve(announce=announce)
        self.reason(client.announce, SERVER)
        self.assertEqual(errors.Reason.VAULT_STATE, self.ended[0].outcome)

    def test_agent_of_an_older_release(self) -> None:
        """It refuses a field that it does not know, before it does a thing."""
        client = socket_client.AgentClient(self.path, 30)
        with (
            mock.patch.object(
                client,
                'call',
                side_effect=[errors.Invalid('INVALID_REQUEST'), {}],
            ) as call,
            spans.span('precheck'),
        ):
            client.announce(SERVER)
        first, second = call.call_args_list
        self.assertIn(spans.TRACEPARENT, first.kwargs)
        self.assertEqual({'instance': SERVER}, second.kwargs)

    def test_any_traceparent_is_taken(self) -> None:
        client = self.serve(announce=done)
        for said in ('', 'x' * 1000, 5, None, {'a': 1}):
            client.call('announce', traceparent=said, instance=SERVER)
        self.assertEqual({''}, {span.parent for span in self.ended})


class OperationsTest(Base):
    """Each method of the client arrives as its request, and is answered."""

    def exchange(self, op: str, answer: Any, *args: Any, **kw: Any) -> Any:
        seen: list[operations.Request] = []

        def handler(request: operations.Request) -> operations.Fields:
            seen.append(request)
            return answer

        client = self.serve(**{op: handler})
        self.assertEqual(
            None if answer == answers.Done() else answer,
            getattr(client, op)(*args, **kw),
        )
        (request,) = seen
        return request

    def test_about_hosts(self) -> None:
        status = answers.HostStatus(
            'h1', '', 'none', (), None, 0, (), None, {'korora-nova': '1'}
        )
        appraised = answers.Appraised('affirming', (), 1.7e9)
        self.assertEqual(operations.Status(), self.exchange('status', status))
        self.assertEqual(
            operations.Attest(), self.exchange('attest', appraised)
        )
        self.assertEqual(
            operations.Verdict('h2'), self.exchange('verdict', appraised, 'h2')
        )
        said = ('a.Driver', '1', '[NOVA_DRIFT] spawn')
        self.assertEqual(
            operations.Enforces(*said),
            self.exchange('enforces', answers.Done(), *said),
        )

    def test_about_keys(self) -> None:
        protected = answers.Protected(
            'held', 1, '', answers.LedgerRow('h1', 1, None), True
        )
        key = answers.Key(SERVER, 1)
        self.assertEqual(
            operations.Protection(SERVER, False),
            self.exchange('protection', protected, SERVER, ledger=False),
        )
        passphrase = Secret(b'secret canary')
        self.assertEqual(
            operations.Seal(SERVER, SERVER, passphrase),
            self.exchange('seal', key, SERVER, SERVER, passphrase),
        )
        self.assertEqual(
            operations.Open(SERVER), self.exchange('open', key, SERVER)
        )
        self.assertEqual(
            operations.Close(SERVER),
            self.exchange('close', answers.Done(), SERVER),
        )
        noted = answers.Noted(True, 'a.b.c', 'deleted')
        self.assertEqual(
            operations.Forget(SERVER, 2),
            self.exchange('forget', noted, SERVER, wait=2),
        )
        self.assertNotIn('canary', self.log.getvalue())

    def test_about_migrations(self) -> None:
        self.assertEqual(
            operations.Announce(SERVER),
            self.exchange('announce', answers.Done(), SERVER),
        )
        self.assertEqual(
            operations.CheckAddress('h2'),
            self.exchange('check_address', answers.Done(), 'h2'),
        )
        where = {'address': 'h2', 'tls_name': ''}
        self.assertEqual(
            operations.Receive(SERVER, MOVE, 'h1', **where),
            self.exchange(
                'receive',
                answers.Received(SERVER, 2, 20.0, 30),
                SERVER,
                MOVE,
                source='h1',
                **where,
            ),
        )
        self.assertEqual(
            operations.Start(SERVER, MOVE, 'h2', 'h2', None),
            self.exchange(
                'start',
                answers.Started('h2', ''),
                SERVER,
                MOVE,
                dest='h2',
                address='h2',
                tls_name=None,
            ),
        )

    def test_statements(self) -> None:
        noted = answers.Noted(False)
        for request in (
            operations.StreamCompleted(SERVER, MOVE),
            operations.NeverStarted(SERVER, MOVE),
            operations.Activated(SERVER, MOVE),
            operations.NoDomain(SERVER, MOVE),
        ):
            self.assertEqual(
                request, self.exchange(request.OP, noted, SERVER, MOVE)
            )
