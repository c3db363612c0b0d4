# SPDX-License-Identifier: Apache-2.0
"""Private keys in a PKCS#11 token: SoftHSM's, by its real module."""

import contextlib
import copy
import dataclasses
import io
import logging
import os
import pathlib
import shutil
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent import futures
from unittest import mock

import fixtures
import jwt
import pkcs11
import testtools
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.cmd import manage
from korora_nova.custody import approval, permit
from korora_nova.custody import documents as custody
from korora_nova.rats.signed import keys
from korora_nova.verifier import keystore
from korora_nova.verifier.keystores import pkcs11 as store
from korora_nova.verifier.keystores import token as tokens
from tests.support import documents, softhsm

ES256 = ec.ECDSA(hashes.SHA256())


class TokenTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self.hsm = self.useFixture(softhsm.SoftHsm())
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.pin_file = self.directory / 'pin'
        self.pin_file.write_text(softhsm.PIN + '\n')
        self.trusted = self.directory / 'keys.json'
        self.config = self.directory / 'korora.conf'
        self.configure()

    def configure(self, **pkcs11_options: str) -> None:
        section = {
            'module': softhsm.MODULE,
            'token': softhsm.LABEL,
            'pin_file': str(self.pin_file),
            **pkcs11_options,
        }
        lines = [f'{k} = {v}' for k, v in section.items() if v]
        self.config.write_text(
            f'[verifier]\nkey_store = pkcs11\ntrusted_keys = {self.trusted}\n'
            f'[database]\nconnection = sqlite:///{self.directory}/db\n'
            '[pkcs11]\n' + '\n'.join(lines)
        )
        self.conf = options.parse([], [str(self.config)])
        options.register_verifier_opts(self.conf)

    def manage(self, *args: str) -> tuple[int, str]:
        output = io.StringIO()
        with (
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
        ):
            code = manage.main(['--config-file', str(self.config), *args])
        return code, output.getvalue()

    def refused(self, sentence: str, function: Callable, *args) -> str:
        """KEYS_INVALID with this sentence; returns all that is shown."""
        error = self.assertRaises(errors.Unavailable, function, *args)
        self.assertEqual('KEYS_INVALID', error.reason)
        self.assertEqual(sentence, error.message)
        shown = ''.join(traceback.format_exception(error)) + self.log.output
        self.assertNotIn(softhsm.PIN, shown)
        return shown


class TestKeys(TokenTestCase):
    """The key store as the service and operators use it."""

    def setUp(self) -> None:
        super().setUp()
        self.assertEqual((0, 3), self.created())
        self.keys = keystore.Keys(self.conf)

    def created(self) -> tuple[int, int]:
        code, output = self.manage('keys', 'create')
        return code, output.count(' is active.')

    def test_documents(self) -> None:
        signers, ring = self.keys.signers(), self.keys.ring
        asked = documents.a_permit(cloud=ring.cloud)
        token = custody.sign(asked, signers.custody)
        found = permit.verify_permit(token, ring)
        self.assertEqual(asked, found.content)

    def test_approvals(self) -> None:
        signers, ring = self.keys.signers(), self.keys.ring
        what = {'instance': documents.INSTANCE, 'epoch': 1, 'ref': b'r' * 32}
        made = approval.sign_approval(
            **what,
            pcr_digest=bytes(32),
            reset_restart=bytes(8),
            deadline=1,
            key=signers.approval,
        )
        approval.verify_approval(made, ring, **what)

    def test_private_halves_stay_in_the_token(self) -> None:
        private = self.keys.signers().custody.private
        self.assertIs(private, copy.deepcopy(copy.copy(private)))
        self.assertEqual(256, private.key_size)
        for call in (
            lambda: private.private_numbers(),
            lambda: private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            lambda: private.exchange(ec.ECDH(), private.public_key()),
        ):
            self.assertRaises(TypeError, call)
        found = private._token.run(
            lambda opened: [
                (key[pkcs11.Attribute.SENSITIVE], key[_EXTRACTABLE])
                for key in opened.session.get_objects(_PRIVATE)
            ]
        )
        self.assertEqual([(True, False)] * 3, found)

    def test_only_sha256(self) -> None:
        private = self.keys.signers().custody.private
        sha384 = ec.ECDSA(hashes.SHA384())
        self.assertRaises(ValueError, private.sign, b'data', sha384)
        self.assertRaises(ValueError, private.sign, b'short', store._PREHASHED)

    def test_created_again(self) -> None:
        self.assertEqual((0, 0), self.created())

    def test_replaced(self) -> None:
        old = self.keys.signers().approval.kid
        code, output = self.manage('keys', 'create', 'approval')
        self.assertEqual(0, code, output)
        new = output.split()[3]
        self.assertEqual(0, self.manage('keys', 'activate', new)[0])
        signers = self.keys.signers()
        self.assertEqual(new, signers.approval.kid)
        self.assertEqual(old, signers.approver(old).kid)
        self.manage('db', 'sync')
        code, output = self.manage('keys', 'status')
        self.assertEqual((0, 4), (code, len(output.splitlines())), output)
        self.assertNotIn('cannot', output)

    def test_private_half_is_not_in_the_token(self) -> None:
        """keys.json came from a node with another token."""
        stranger = keys.SigningKey.generate()
        ring = self.keys.ring
        ring.having(
            dataclasses.replace(
                ring.active('custody'), state=keys.State.VERIFY_ONLY
            ),
            keys.Pinned('custody', stranger.kid, stranger.public),
        ).save(self.trusted)
        sentence = f'The token korora has no key {stranger.kid}.'
        self.refused(sentence, self.keys.signers)
        code, output = self.manage('keys', 'create')
        self.assertEqual((1, True), (code, sentence in output), output)

    def test_another_token_of_this_name(self) -> None:
        signers = self.keys.signers()
        self.hsm.remove()
        self.hsm.init()
        self.refused(
            f'The token korora has no key {signers.result.kid}.',
            signers.result.private.sign,
            b'',
            ES256,
        )

    def test_no_room(self) -> None:
        """Keys that were made before are listed; the rest is made later."""
        self.trusted.unlink()
        genuine, made = store._generate, []

        def generate(session, use):
            if made:
                raise pkcs11.DeviceMemory()
            made.append(use)
            return genuine(session, use)

        with mock.patch.object(store, '_generate', generate):
            code, output = self.manage('keys', 'create')
        self.assertEqual(1, code)
        self.assertIn('The token korora has no room left.', output)
        self.assertEqual((0, 2), self.created())


_EXTRACTABLE = pkcs11.Attribute.EXTRACTABLE
_PRIVATE = {pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY}


class TestBadDays(TokenTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.store = store.Pkcs11KeyStore(self.conf)
        self.key = self.store.create('approval')
        self.token = self.store._token
        self.useFixture(fixtures.MonkeyPatch(f'{tokens.__name__}.PAUSE', 0.0))

    def sign(self) -> None:
        """Insist on a signature that verifies."""
        token = jwt.encode({'a': 1}, self.key.private, algorithm='ES256')
        jwt.decode(token, self.key.public, algorithms=['ES256'])

    @contextlib.contextmanager
    def opened(self) -> Iterator[list[None]]:
        """Counts how often the token is opened."""
        seen: list[None] = []
        genuine = self.token._open

        def count(rw: bool):
            seen.append(None)
            return genuine(rw)

        with mock.patch.object(self.token, '_open', count):
            yield seen

    def test_threads(self) -> None:
        with self.opened() as seen, futures.ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(self.sign) for _ in range(64)]:
                done.result()
        self.assertEqual([], seen)

    def in_a_child(self) -> int:
        """The exit status of a forked process that signs."""
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                self.sign()
                code = 0
            os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def test_forked_worker(self) -> None:
        self.sign()
        for _ in range(2):
            self.assertEqual(0, self.in_a_child())
            self.sign()

    def test_forked_while_a_thread_signs(self) -> None:
        with self.token._alone():
            self.assertEqual(0, self.in_a_child())
        self.sign()

    def test_session_dies(self) -> None:
        self.token._opened.session.close()
        with self.opened() as seen:
            self.sign()
            self.sign()
        self.assertEqual(1, len(seen))

    def test_removed_and_back(self) -> None:
        self.hsm.remove()
        for _ in range(2):
            self.refused('The token korora is not there.', self.sign)
        self.hsm.insert()
        self.sign()

    def test_removed_while_nothing_is_open(self) -> None:
        self.token._close()
        self.hsm.remove()
        self.refused('The token korora is not there.', self.sign)

    def test_failed_token_is_left_alone_for_a_while(self) -> None:
        """Requests do not queue up behind a token that is away."""
        tokens.PAUSE = 60.0
        self.hsm.remove()
        self.refused('The token korora is not there.', self.sign)
        with self.opened() as seen:
            self.refused('The token korora is not there.', self.sign)
        self.assertEqual([], seen)

    def test_missing_key_disturbs_no_other(self) -> None:
        tokens.PAUSE = 60.0
        sentence = f'The token korora has no key {"00" * 8}.'
        ask = (self.store.signing_key, 'approval', '00' * 8)
        self.refused(sentence, *ask)
        with self.opened() as seen:
            self.refused(sentence, *ask)
            self.sign()
        self.assertEqual([], seen)

    def test_key_is_deleted(self) -> None:
        self.token.write(
            lambda session: [
                key.destroy() for key in list(session.get_objects(_PRIVATE))
            ]
        )
        self.refused(
            'The token korora has 0 private keys with the CKA_ID of the key '
            f'{self.key.kid}, not one.',
            self.sign,
        )

    def test_two_private_keys_of_one_name(self) -> None:
        _, name = self.token.run(
            lambda opened: store._public(opened, self.key.kid)
        )
        with mock.patch.object(store.os, 'urandom', return_value=name):
            self.assertRaises(
                errors.Unavailable, self.store.create, 'approval'
            )
        self.refused(
            'The token korora has 2 private keys with the CKA_ID of the key '
            f'{self.key.kid}, not one.',
            self.sign,
        )

    def test_token_signs_with_another_key(self) -> None:
        other = self.store.create('custody')
        handles = self.token.run(lambda opened: opened.keys)
        handles[self.key.kid] = handles[other.kid]
        self.refused(
            f'The token signs with another key than {self.key.kid}.', self.sign
        )

    def test_token_that_hangs(self) -> None:
        self.configure(timeout='0.1')
        found = store.Pkcs11KeyStore(self.conf)
        started, done = threading.Event(), threading.Event()
        self.addCleanup(done.set)

        def hang(opened: tokens.Opened) -> None:
            started.set()
            done.wait()

        thread = threading.Thread(target=found._token.run, args=(hang,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(done.set)
        started.wait()
        self.refused(
            'The token korora does not answer.',
            found.signing_key,
            'approval',
            self.key.kid,
        )

    def test_no_session_left(self) -> None:
        self.token._close()
        with mock.patch.object(
            self.token, '_open', side_effect=pkcs11.SessionCount()
        ):
            self.refused(
                'The token korora has no session left; close those of others.',
                self.sign,
            )
        self.sign()

    def test_two_tokens_of_one_name(self) -> None:
        self.hsm.init()
        self.token._close()
        self.refused('The token korora is there more than once.', self.sign)

    def test_an_error_that_nobody_expects(self) -> None:
        """Its text is the module's, and may hold anything."""
        with mock.patch.object(
            store, '_private', side_effect=pkcs11.GeneralError(softhsm.PIN)
        ):
            self.refused(
                'The token korora failed with GeneralError.', self.sign
            )

    def test_all_tokens_are_lost(self) -> None:
        shutil.rmtree(self.hsm.tokens)
        self.refused('The token korora failed with GeneralError.', self.sign)


class TestPin(TokenTestCase):
    def make(self) -> keys.SigningKey:
        return store.Pkcs11KeyStore(self.conf).create('result')

    def test_in_the_environment(self) -> None:
        self.useFixture(
            fixtures.EnvironmentVariable('OS_PKCS11__PIN', softhsm.PIN)
        )
        self.configure(pin_file='')
        self.make()

    def test_in_the_configuration(self) -> None:
        self.configure(pin_file='', pin=softhsm.PIN)
        self.make()
        self.conf.log_opt_values(logging.getLogger(), logging.DEBUG)
        self.assertIn('pkcs11.pin ', self.log.output)
        self.assertNotIn(softhsm.PIN, self.log.output)

    def test_nowhere(self) -> None:
        self.configure(pin_file='')
        self.refused('Neither [pkcs11] pin nor pin_file is set.', self.make)

    def test_file_is_missing(self) -> None:
        self.pin_file.unlink()
        self.refused(
            f'Cannot read the PIN in {self.pin_file}: FileNotFoundError.',
            self.make,
        )

    def test_file_is_no_text(self) -> None:
        self.pin_file.write_bytes(b'\xff\xfe')
        self.refused(
            f'Cannot read the PIN in {self.pin_file}: UnicodeDecodeError.',
            self.make,
        )

    def test_wrong_one_is_tried_once(self) -> None:
        """More often, and the token would be locked."""
        sentence = (
            'The token korora refuses the PIN; change it, or start the '
            'service again.'
        )
        self.useFixture(fixtures.MonkeyPatch(f'{tokens.__name__}.PAUSE', 0.0))
        self.pin_file.write_text('111111')
        found = store.Pkcs11KeyStore(self.conf)
        self.refused(sentence, found.create, 'result')
        with mock.patch.object(tokens.pkcs11, 'lib') as lib:
            for _ in range(3):
                self.refused(sentence, found.create, 'result')
                self.refused(sentence, found.signing_key, 'result', '00' * 8)
        lib.return_value.get_token.assert_not_called()
        self.pin_file.write_text(softhsm.PIN)
        found.create('result')

    def test_locked_and_unlocked(self) -> None:
        """A locked token is asked again: unlocking it needs no restart."""
        self.useFixture(fixtures.MonkeyPatch(f'{tokens.__name__}.PAUSE', 0.0))
        found = store.Pkcs11KeyStore(self.conf)
        token = mock.Mock()
        token.open.side_effect = pkcs11.PinLocked()
        with mock.patch.object(tokens.pkcs11, 'lib') as lib:
            lib.return_value.get_token.return_value = token
            self.refused(
                'The token korora is locked after too many wrong PINs.',
                found.create,
                'result',
            )
        found.create('result')

    def test_changed_while_it_runs(self) -> None:
        self.make()
        found = store.Pkcs11KeyStore(self.conf)
        made = found.create('result')
        self.pin_file.write_text('111111')
        self.assertEqual(made.kid, found.signing_key('result', made.kid).kid)


class TestConfiguration(TokenTestCase):
    def test_not_set(self) -> None:
        for name in ('module', 'token'):
            self.configure(**{name: ''})
            self.refused(
                f'[pkcs11] {name} is not set.',
                store.Pkcs11KeyStore,
                self.conf,
            )

    def test_no_such_module(self) -> None:
        self.configure(module=str(self.directory / 'missing.so'))
        found = store.Pkcs11KeyStore(self.conf)
        self.refused(
            'The token korora is not there: [pkcs11] module cannot be loaded.',
            found.create,
            'result',
        )

    def test_no_such_token(self) -> None:
        self.configure(token='other')
        found = store.Pkcs11KeyStore(self.conf)
        self.refused('The token other is not there.', found.create, 'result')

    def test_nothing_is_opened_before_it_is_needed(self) -> None:
        """A server may fork its workers after it has loaded the service."""
        self.hsm.remove()
        store.Pkcs11KeyStore(self.conf)
