# SPDX-License-Identifier: Apache-2.0
"""korora-manage keys, as an operator runs it."""

import contextlib
import fcntl
import os
import pathlib
import stat
import time
import uuid
from unittest import mock

from korora_nova import conf as options
from korora_nova.cmd import keys as key_commands
from korora_nova.custody import documents as custody
from korora_nova.rats.signed import keys, result
from korora_nova.rats.signed.keys import State
from korora_nova.verifier.db import api, models
from tests.support import documents
from tests.unit.cmd import test_manage

A, B = (str(uuid.UUID(int=number)) for number in (1, 2))


class KeysTestCase(test_manage.CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.private = pathlib.Path(self.directory, 'private')
        self.path = pathlib.Path(self.directory, 'keys.json')
        self.run_keys('create')

    @property
    def ring(self) -> keys.KeyRing:
        return keys.KeyRing.load(self.path)

    def run_keys(self, *args: str, code: int = 0) -> str:
        found, output = self.manage('keys', *args)
        self.assertEqual(code, found, output)
        return output

    def added(self, use: str) -> tuple[str, str]:
        """Ids of the active key and of one that is made now."""
        self.run_keys('create', use)
        (new,) = (
            key.kid
            for key in self.ring.pinned
            if key.use == use and key.state is State.VERIFY_ONLY
        )
        return self.ring.active(use).kid, new

    def replaced(self, use: str) -> tuple[str, str]:
        """Ids of the key that was active and of the one that is now."""
        old, new = self.added(use)
        self.run_keys('activate', new)
        return old, new

    def state(self, kid: str) -> State:
        return self.ring.find(kid).state

    def key(self, use: str, kid: str) -> keys.SigningKey:
        return keys.SigningKey.load(self.private / f'{use}-{kid}.pem')


class TestCreate(KeysTestCase):
    def test_first_ones(self):
        for use in keys.USES:
            kid = self.ring.active(use).kid
            path = self.private / f'{use}-{kid}.pem'
            self.assertEqual(0o600, stat.S_IMODE(os.stat(path).st_mode))
            self.assertEqual(kid, keys.SigningKey.load(path).kid)
        self.assertEqual(3, len(self.ring.pinned))
        self.assertEqual(0o700, stat.S_IMODE(os.stat(self.private).st_mode))

    def test_one_that_signs_certificates(self):
        """Only by name: agents of earlier releases refuse the file then."""
        self.assertIsNone(self.ring.streams)
        self.run_keys('create', 'tls')
        kid = self.ring.streams.kid
        self.assertEqual(kid, self.key('tls', kid).kid)
        self.assertEqual({kid}, set(self.ring.authorities))
        names = self.ring.authorities[kid].subject.rfc4514_string()
        self.assertIn(self.ring.cloud, names)
        before = self.path.read_bytes()
        self.run_keys('create')
        self.assertEqual(before, self.path.read_bytes())

    def test_again_changes_nothing(self):
        before = self.path.read_bytes(), sorted(os.listdir(self.private))
        self.run_keys('create')
        self.assertEqual(
            before, (self.path.read_bytes(), sorted(os.listdir(self.private)))
        )

    def test_another_one_only_verifies(self):
        before = self.ring
        old, new = self.added('result')
        self.assertNotEqual(old, new)
        self.assertEqual({old, new}, set(self.ring.result))
        self.assertEqual(set(before.custody), set(self.ring.custody))
        self.assertEqual(before.cloud, self.ring.cloud)
        self.assertEqual(new, self.key('result', new).kid)

    def test_of_a_private_key_that_is_not_here_no_other_is_made(self):
        """A node got keys.json, but not the private keys."""
        path = next(self.private.glob('custody-*.pem'))
        path.unlink()
        before = self.path.read_bytes()
        output = self.run_keys('create', code=1)
        self.assertIn('KEYS_INVALID', output)
        self.assertIn(path.name, output)
        self.assertEqual(before, self.path.read_bytes())

    def test_no_room_for_the_second(self):
        """What was made is listed: the next run makes what is missing."""
        self.path.unlink()
        genuine, made = keys.SigningKey.save, []

        def one_fits(key: keys.SigningKey, path: str) -> None:
            if made:
                raise OSError(28, 'No space left on device')
            made.append(path)
            genuine(key, path)

        with mock.patch.object(keys.SigningKey, 'save', one_fits):
            output = self.run_keys('create', code=1)
        self.assertIn('No space left', output)
        (first,) = self.ring.pinned
        self.run_keys('create')
        self.assertEqual(first, self.ring.active('result'))
        self.assertEqual(3, len(self.ring.pinned))

    def test_full_disk_keeps_the_public_ones(self):
        before = self.path.read_bytes()
        with mock.patch.object(
            os, 'replace', side_effect=OSError(28, 'No space left on device')
        ):
            self.run_keys('create', 'approval', code=1)
        self.assertEqual(before, self.path.read_bytes())

    def test_one_at_a_time(self):
        seen = []

        def flock(file: int, how: int) -> None:
            seen.append(how)
            fcntl_flock(file, how)

        fcntl_flock = fcntl.flock
        with mock.patch.object(key_commands.fcntl, 'flock', flock):
            self.run_keys('create', 'result')
        self.assertEqual([fcntl.LOCK_EX], seen)

    def test_wrong_use(self):
        self.run_keys('create', 'receipt', code=2)

    def test_keys_json_is_broken(self):
        self.path.write_text('{')
        self.assertIn('KEYS_INVALID', self.run_keys('create', code=1))
        self.assertEqual('{', self.path.read_text())


class TestActivate(KeysTestCase):
    def test_the_other_one_verifies(self):
        old, new = self.replaced('approval')
        self.assertEqual(new, self.ring.active('approval').kid)
        self.assertIs(State.VERIFY_ONLY, self.state(old))

    def test_again(self):
        _, new = self.replaced('approval')
        before = self.path.read_bytes()
        self.run_keys('activate', new)
        self.assertEqual(before, self.path.read_bytes())

    def test_back(self):
        """The new one turns out to be unknown to hosts."""
        old, new = self.replaced('result')
        self.run_keys('activate', old)
        self.assertEqual(old, self.ring.active('result').kid)
        self.assertIs(State.VERIFY_ONLY, self.state(new))

    def test_refusals(self):
        old, new = self.added('custody')
        before = self.path.read_bytes()
        self.assertIn(
            'do not list', self.run_keys('activate', '00' * 8, code=1)
        )
        (self.private / f'custody-{new}.pem').unlink()
        output = self.run_keys('activate', new, code=1)
        self.assertIn(f'custody-{new}.pem', output)
        self.assertEqual(before, self.path.read_bytes())
        self.assertIs(State.ACTIVE, self.state(old))

    def test_never_a_revoked_one(self):
        self.manage('db', 'sync')
        _, new = self.added('result')
        self.run_keys('revoke', new)
        self.assertIn('KEY_REVOKED', self.run_keys('activate', new, code=1))


class NeededTestCase(KeysTestCase):
    """With a database that says what needs a key."""

    def setUp(self) -> None:
        super().setUp()
        self.manage('db', 'sync')
        conf = options.parse([], [self.config])
        options.register_verifier_opts(conf)
        self.db = api.Database(conf)

    def store(self, *rows: models.Base) -> None:
        with self.db.write() as session:
            session.add_all(rows)

    def holds(self, instance: str, host: str | None, kid: str | None) -> None:
        self.row(instance, holder=host, approval_kid=kid)

    def row(self, instance: str, **columns: object) -> None:
        fields = {
            'holder': 'h1',
            'epoch': 1,
            'version': 1,
            'head': instance,
            'released': False,
            **columns,
        }
        with self.db.write() as session:
            session.merge(models.Server(instance=instance, **fields))

    def document(
        self, instance: str, document: custody.Document, signer: str
    ) -> None:
        """Sign it; its hash is its version."""
        self.store(
            models.Document(
                hash=f'{document.version:064x}',
                instance=instance,
                version=document.version,
                kind=document.KIND.typ,
                subject=document.subject,
                kid=signer,
                stored_at=1.0,
                token=custody.sign(document, self.key('custody', signer)),
            )
        )

    def permitted(
        self, signer: str, approval: str, status: str = 'permitted'
    ) -> None:
        """A hand-over of server A, whose permit names these keys."""
        made = documents.a_permit(
            cloud=self.ring.cloud, instance=A, approval_kid=approval
        )
        self.document(A, made, signer)
        self.store(
            models.Migration(
                id=documents.MIGRATION,
                instance=A,
                source='h1',
                dest='h2',
                status=status,
                msk_name='m',
                ak_dest='a',
                address='192.0.2.2',
                tls_name='',
                dest_issued=1.0,
                dest_pcr_digest='',
                dest_reset_restart='',
                dest_clock_ms='1',
                permit_hash=f'{made.version:064x}',
                created_at=1.0,
                updated_at=1.0,
            )
        )

    def decided(self, **columns: object) -> None:
        with self.db.write() as session:
            found = session.get(models.Migration, documents.MIGRATION)
            for name, value in {'status': 'committed', **columns}.items():
                setattr(found, name, value)

    def receipt(self, signer: str, version: int, instance: str = A) -> None:
        """The newest document of a server."""
        made = documents.a_receipt(cloud=self.ring.cloud, version=version)
        self.document(instance, made, signer)
        self.row(instance, version=version, head=f'{version:064x}')

    def refused(self, *args: str) -> str:
        before = self.path.read_bytes()
        output = self.run_keys(*args, code=1)
        self.assertIn('KEY_IN_USE', output)
        self.assertEqual(before, self.path.read_bytes())
        return output


class TestRetire(NeededTestCase):
    def test_nothing_needs_it(self):
        old, _ = self.replaced('approval')
        for _ in range(2):
            self.assertIn('nothing needs it', self.run_keys('retire', old))
        self.assertIs(State.REVOKED, self.state(old))
        self.assertNotIn(old, self.ring.approval)

    def test_the_active_one(self):
        kid = self.ring.active('approval').kid
        self.assertIn('another one first', self.refused('retire', kid))
        self.assertIn(
            'another one first', self.refused('revoke', '--force', kid)
        )

    def test_unknown(self):
        output = self.run_keys('retire', '00' * 8, code=1)
        self.assertIn('do not list', output)

    def test_copies_rest_under_it(self):
        old, new = self.replaced('approval')
        self.holds(A, 'h1', old)
        self.holds(B, 'h2', new)
        output = self.refused('retire', old)
        self.assertIn('1 key on h1 rest', output)
        self.assertNotIn('h2', output)
        self.assertIn('host evict', output)
        self.holds(A, 'h1', new)
        self.run_keys('retire', old)

    def test_a_deleted_server_does_not_count(self):
        old, _ = self.replaced('approval')
        self.holds(A, None, old)
        self.run_keys('retire', old)

    def test_a_host_has_not_said(self):
        old, new = self.replaced('approval')
        self.holds(A, 'h1', None)
        output = self.refused('retire', old)
        self.assertIn('h1 has not said', output)
        self.holds(A, 'h1', new)
        self.run_keys('retire', old)

    def test_a_host_names_a_key_that_is_not_listed(self):
        old, _ = self.replaced('approval')
        self.holds(A, 'h1', '00' * 8)
        self.assertIn('h1 has not said', self.refused('retire', old))

    def test_during_a_hand_over(self):
        """D's copy is going to rest under the key that the permit names."""
        custody = self.ring.active('custody').kid
        old, new = self.replaced('approval')
        self.holds(A, 'h1', new)
        self.permitted(custody, old)
        output = self.refused('retire', old)
        self.assertIn(documents.MIGRATION, output)
        self.decided()
        self.run_keys('retire', old)

    def test_during_a_hand_over_that_does_not_verify(self):
        custody, _ = self.replaced('custody')
        old, _ = self.replaced('approval')
        self.permitted(custody, self.ring.active('approval').kid)
        self.run_keys('revoke', '--force', custody)
        self.assertIn(documents.MIGRATION, self.refused('retire', old))

    def test_a_hand_over_begins_meanwhile(self):
        """A worker that has not seen the new keys.json signs a permit."""
        custody = self.ring.active('custody').kid
        old, _ = self.replaced('approval')
        genuine = keys.KeyRing.save

        def save(ring: keys.KeyRing, path: str) -> None:
            genuine(ring, path)
            with contextlib.suppress(Exception):
                self.permitted(custody, old)

        with mock.patch.object(keys.KeyRing, 'save', save):
            output = self.run_keys('retire', old, code=1)
        self.assertIn(documents.MIGRATION, output)
        self.assertIs(State.VERIFY_ONLY, self.state(old))

    def hosts(self, **evicted_at: float | None) -> None:
        self.store(
            *(
                models.Host(
                    name=name, ek_hash=name, approved=True, evicted_at=at
                )
                for name, at in evicted_at.items()
            )
        )

    def test_a_decision_that_may_be_reversed(self):
        """S may come to say that it kept the guest: its copy counts then."""
        custody = self.ring.active('custody').kid
        old, new = self.replaced('approval')
        self.hosts(h1=None, h2=None)
        self.permitted(custody, new)
        self.receipt(custody, 9)
        self.holds(A, 'h2', new)
        self.row(A, holder='h2', approval_kid=new, head=f'{9:064x}')
        moved = {'start_hash': 'a', 'dest_word': 'activated'}
        self.decided(**moved)
        self.assertIn(documents.MIGRATION, self.refused('retire', old))
        self.decided(source_word='kept', contradicted_at=1.0)
        self.assertIn(documents.MIGRATION, self.refused('retire', old))
        self.decided(source_word='stream_completed', contradicted_at=None)
        self.run_keys('retire', old)

    def test_an_end_that_is_evicted_says_nothing_any_more(self):
        custody = self.ring.active('custody').kid
        old, new = self.replaced('approval')
        self.hosts(h1=1.0, h2=None)
        self.permitted(custody, new)
        self.receipt(custody, 9)
        self.row(A, holder='h2', approval_kid=new, head=f'{9:064x}')
        self.decided(start_hash='a', dest_word='activated')
        self.run_keys('retire', old)

    def test_documents_outlive_custody_keys(self):
        old, new = self.replaced('custody')
        self.receipt(old, 7)
        self.receipt(new, 8)
        output = self.refused('retire', old)
        self.assertIn('1 documents are signed with it', output)
        self.assertNotIn('newest', output)
        self.assertIn('stays verify-only', output)

    def test_results(self):
        old, new = self.replaced('result')
        for name, kid, age in (('h1', old, 0), ('h2', new, 0), ('h3', old, 1)):
            now = time.time() - age * 3600
            self.store(
                models.Host(
                    name=name,
                    ek_hash=name,
                    approved=True,
                    token=result.sign_result(
                        documents.a_result(
                            cloud=self.ring.cloud,
                            issued=now,
                            expires=now + 180,
                        ),
                        self.key('result', kid),
                    ),
                    expires=now + 180,
                )
            )
        output = self.refused('retire', old)
        self.assertIn('results of h1', output)
        for skew, code in ((-86400, 1), (100, 1), (86400, 0)):
            fake = mock.Mock(wraps=time)
            fake.time.side_effect = [time.time() + skew] * 2
            with mock.patch.object(key_commands, 'time', fake):
                self.run_keys('retire', old, code=code)

    def test_wait(self):
        old, new = self.replaced('approval')
        self.holds(A, 'h1', old)
        waited = []

        def sleep(seconds: float) -> None:
            waited.append(seconds)
            self.holds(A, 'h1', new)

        fake = mock.Mock(wraps=time, sleep=sleep)
        with mock.patch.object(key_commands, 'time', fake):
            self.run_keys('retire', '--wait', '60', old)
        self.assertEqual([key_commands.POLL], waited)

    def test_wait_in_vain(self):
        old, _ = self.replaced('approval')
        self.holds(A, 'h1', old)
        self.refused('retire', '--wait', '0.01', old)

    def test_no_database(self):
        old, _ = self.replaced('approval')
        before = self.path.read_bytes()
        os.unlink(f'{self.directory}/korora.db')
        output = self.run_keys('retire', old, code=1)
        self.assertIn('DATABASE_UNAVAILABLE', output)
        self.assertEqual(before, self.path.read_bytes())


class TestCertificates(NeededTestCase):
    """The life of the key that signs certificates of streams."""

    def setUp(self) -> None:
        super().setUp()
        self.run_keys('create', 'tls')
        self.old = self.ring.streams.kid

    def certified(self, kid: str, left: float) -> None:
        with self.db.write() as session:
            session.merge(
                models.Host(
                    name='h1',
                    ek_hash='x',
                    approved=True,
                    tls_name='x',
                    tls_until=time.time() + left,
                    tls_authority=kid,
                )
            )

    def test_replaced(self):
        old, new = self.replaced('tls')
        self.assertEqual(self.old, old)
        self.assertEqual(new, self.ring.streams.kid)
        # Hosts trust both while they renew.
        self.assertEqual({old, new}, set(self.ring.authorities))
        self.certified(old, 60)
        output = self.run_keys('retire', old, code=1)
        self.assertIn('it signed the certificates of h1', output)
        self.certified(new, 60)
        self.run_keys('retire', old)
        self.assertEqual({new}, set(self.ring.authorities))

    def test_what_has_ended_needs_none(self):
        old, _ = self.replaced('tls')
        self.certified(old, -1)
        self.run_keys('retire', old)

    def test_leaked(self):
        """It waits for nobody: hosts renew by themselves."""
        old, new = self.replaced('tls')
        self.certified(old, 60)
        self.run_keys('revoke', old)
        self.assertEqual({new}, set(self.ring.authorities))

    def test_lost(self):
        """A new one is made and activated without the old one."""
        (self.private / f'tls-{self.old}.pem').unlink()
        self.replaced('tls')
        self.run_keys('status')

    def test_a_node_that_lacks_it(self):
        (self.private / f'tls-{self.old}.pem').unlink()
        self.assertIn('this node cannot sign', self.run_keys('status', code=1))


class TestRevoke(NeededTestCase):
    def test_leaked(self):
        old, _ = self.replaced('custody')
        for _ in range(2):
            self.run_keys('revoke', old)
        self.assertNotIn(old, self.ring.custody)

    def test_newest_document_of_a_server(self):
        """Until V has signed another one, it would have no row to rest on."""
        old, new = self.replaced('custody')
        self.receipt(old, 7)
        output = self.refused('revoke', old)
        self.assertIn(f'newest document of {A}', output)
        self.assertIn('--force', output)
        self.receipt(new, 8)
        self.run_keys('revoke', old)
        self.assertIs(State.REVOKED, self.state(old))

    def test_many_servers_are_not_all_named(self):
        old, _ = self.replaced('custody')
        for number in range(7):
            self.receipt(old, number + 7, str(uuid.UUID(int=number)))
        self.assertIn('and 2 more', self.refused('revoke', old))

    def test_forced(self):
        old, _ = self.replaced('approval')
        self.holds(A, 'h1', old)
        self.assertIn('1 key on h1', self.refused('revoke', old))
        self.run_keys('revoke', '--force', old)
        self.assertIs(State.REVOKED, self.state(old))


class TestStatus(NeededTestCase):
    def test_what_needs_each(self):
        custody = self.ring.active('custody').kid
        old, new = self.replaced('approval')
        self.holds(A, 'h1', old)
        self.holds(B, 'h2', new)
        self.permitted(custody, new)
        lines = self.run_keys('status').splitlines()
        told = lines[lines.index(f'approval {old} verify-only') :]
        self.assertEqual(
            [
                f'approval {old} verify-only',
                '         1 key on h1 rest under it',
                f'approval {new} active',
                '         1 key on h2 rest under it',
                f'         the hand-over {documents.MIGRATION} needs it',
            ],
            told,
        )

    def test_private_key_that_is_not_here(self):
        _, new = self.added('approval')
        (self.private / f'approval-{new}.pem').unlink()
        self.assertIn('this node cannot sign', self.run_keys('status'))
        (path,) = self.private.glob('custody-*.pem')
        path.unlink()
        self.run_keys('status', code=1)

    def test_revoked_ones_need_none(self):
        old, _ = self.replaced('result')
        self.run_keys('revoke', old)
        (self.private / f'result-{old}.pem').unlink()
        output = self.run_keys('status')
        self.assertIn(f'{old} revoked', output)
        self.assertNotIn('cannot', output)
