# SPDX-License-Identifier: Apache-2.0
"""The results of all hosts under one signature, and what attacks it."""

import dataclasses
import json

import testtools

from korora_nova import errors
from korora_nova.rats.signed import keys, result, snapshot
from korora_nova.rats.signed import token as tokens
from korora_nova.rats.words import Tier

CLOUD = 'c1'
INCARNATION = '9c5b94b1-35ad-49bb-b118-8e8fc24abf80'
OTHER = '00000000-35ad-49bb-b118-8e8fc24abf80'
NOW = 50_000.0


def row(host, tier=Tier.AFFIRMING, issued=NOW - 10, expires=NOW + 100, **more):
    return snapshot.Row(host, tier, issued=issued, expires=expires, **more)


class Base(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.key = keys.SigningKey.generate()
        self.ring = keys.KeyRing.build(
            CLOUD, result=[self.key.public], custody=[], approval=[]
        )

    def update(self, *rows, base=None, gone=(), lines=None, **head):
        """What a service says that has these hosts."""
        key = head.pop('key', self.key)
        all_lines = {one.host: one.text() for one in rows}
        sent = sorted(all_lines) if lines is None else lines
        signed = dataclasses.replace(
            snapshot.Head(
                CLOUD,
                INCARNATION,
                7,
                len(all_lines),
                snapshot.digest(all_lines),
                NOW,
            ),
            **head,
        )
        return snapshot.Update(
            snapshot.sign(signed, key),
            '' if base is None else base.head.mark,
            '\n'.join(all_lines[host] for host in sent),
            gone,
        )

    def verify(self, update, held=None, now=NOW, ring=None):
        return snapshot.verify(update, ring or self.ring, now=now, held=held)

    def refused(self, reason, update, **kwargs):
        error = self.assertRaises(
            errors.Untrusted, self.verify, update, **kwargs
        )
        self.assertEqual(reason, error.reason, error.details)


class TestWhole(Base):
    def test_rows(self):
        rows = {
            'h1': row('h1'),
            'h10': row('h10', Tier.CONTRAINDICATED, reasons=('EVICTED',)),
            'h2': row('h2', enforcer='ENFORCER_ABSENT'),
            'h3': snapshot.Row('h3', Tier.NONE, reasons=('HOST_PENDING',)),
        }
        found = self.verify(self.update(*rows.values()))
        self.assertEqual(rows, found.rows)
        self.assertEqual(f'7-{INCARNATION}', found.head.mark)
        self.assertEqual(self.key.kid, found.head.kid)

    def test_no_hosts(self):
        self.assertEqual({}, self.verify(self.update()).rows)

    def test_a_row_of_a_result(self):
        made = result.Result(
            'h1', '00' * 34, Tier.AFFIRMING, (), '', 10.5, 99.5, CLOUD
        )
        token = result.sign_result(made, self.key)
        claims = tokens.authentic(token, self.ring, result.KIND)
        self.assertEqual(
            row('h1', issued=10.5, expires=99.5),
            snapshot.Row.claimed(claims),
        )
        self.assertEqual(snapshot.Row.of(made), snapshot.Row.claimed(claims))

    def test_signatures(self):
        """T20: signed by whom is not pinned, or is not any more."""
        other = keys.SigningKey.generate()
        self.refused('RESULT_FORGED', self.update(row('h1'), key=other))
        revoked = self.ring.having(
            dataclasses.replace(
                self.ring.find(self.key.kid), state=keys.State.REVOKED
            )
        )
        self.refused('RESULT_FORGED', self.update(row('h1')), ring=revoked)
        self.refused('RESULT_FORGED', self.update(row('h1'), cloud='c2'))
        custody = keys.KeyRing.build(
            CLOUD, result=[], custody=[self.key.public], approval=[]
        )
        self.refused('RESULT_FORGED', self.update(row('h1')), ring=custody)

    def test_a_result_is_no_snapshot(self):
        token = result.sign_result(
            result.Result(
                'h1', '00' * 34, Tier.AFFIRMING, (), '', NOW, NOW + 9, CLOUD
            ),
            self.key,
        )
        update = self.update(row('h1'))
        self.refused('RESULT_FORGED', update._replace(token=token))
        # Nor the other way round.
        self.assertRaises(
            errors.Untrusted,
            result.verify_result,
            update.token,
            self.ring,
            host='h1',
            cloud=CLOUD,
            now=NOW,
        )
        self.assertRaises(
            tokens.TokenError,
            tokens.authentic,
            update.token,
            self.ring,
            result.KIND,
        )

    def test_another_text(self):
        update = self.update(row('h1'), row('h2'))
        good, bad = (
            row('h1', tier).text()
            for tier in (Tier.AFFIRMING, Tier.CONTRAINDICATED)
        )
        lines = update.rows.split('\n')
        for rows in (
            lines[:1],
            [*lines, row('h3').text()],
            [bad, lines[1]],
            lines[::-1],
            [good, *lines],
            [lines[0] + ' ', lines[1]],
            ['', *lines],
            [*lines, ''],
        ):
            self.refused(
                'RESULT_FORGED', update._replace(rows='\n'.join(rows))
            )
        self.verify(update._replace(rows='\n'.join(lines)))

    def test_rows_that_are_signed_and_wrong(self):
        """A service that is at fault makes no host trusted."""
        for item in (
            {},
            ['h1', 'affirming', '', 1, 2],
            ['h1', 'affirming', '', 1, 2, [], 3],
            ['h1', 'Affirming', '', 1, 2, []],
            ['h1', ['affirming'], '', 1, 2, []],
            ['h1', 'affirming', 'NEWS', 1, 2, []],
            ['h1', 'affirming', [], 1, 2, []],
            ['h1', 'affirming', '', 'x', 2, []],
            ['h1', 'affirming', '', 3, 2, []],
            ['h1', 'affirming', '', -1, 2, []],
            ['h1', 'affirming', '', float('nan'), 2, []],
            ['h1', 'affirming', '', 1, float('nan'), []],
            ['h1', 'affirming', '', 1, 2, ['PCR_NOT_GOLDEN']],
            ['h1', 'contraindicated', '', 1, 2, [1]],
            ['h1', 'contraindicated', '', 1, 2, 'ab'],
            ['h1', 'contraindicated', '', 1, 2, 5],
        ):
            line = json.dumps(item, separators=(',', ':'))
            signed = self.update(
                row('h1'), count=1, digest=snapshot.digest({'h1': line})
            )
            self.refused('RESULT_FORGED', signed._replace(rows=line))
        for text in ('["h1"', '["h1","affirming","",1,2,[]],[]', '[' * 9**5):
            signed = self.update(
                row('h1'), count=1, digest=snapshot.digest({'h1': text})
            )
            self.refused('RESULT_FORGED', signed._replace(rows=text))

    def test_a_row_for_another_host(self):
        """Its name is read twice, and must be the same."""
        line = row('h1').text().replace('h1', 'h\\u0031')
        self.assertEqual('h1', json.loads(line)[0])
        signed = self.update(
            row('h1'), count=1, digest=snapshot.digest({'h1': line})
        )
        self.refused('RESULT_FORGED', signed._replace(rows=line))

    def test_twice_the_same_host(self):
        lines = [
            row('h1', tier).text()
            for tier in (Tier.CONTRAINDICATED, Tier.AFFIRMING)
        ]
        text = '\n'.join(lines)
        signed = self.update(
            row('h1'), count=2, digest=snapshot.digest({'h': text})
        )
        self.refused('RESULT_FORGED', signed._replace(rows=text))

    def test_no_row_counts_for_ever(self):
        found = self.verify(self.update(row('h1', expires=NOW * 1e6)))
        self.assertEqual(NOW - 10 + 86400, found.rows['h1'].expires)

    def test_time(self):
        update = self.update(row('h1'))
        self.verify(update, now=NOW + 60)
        self.verify(update, now=NOW - 30)
        self.refused('RESULT_EXPIRED', update, now=NOW + 60.1)
        self.refused('RESULT_EXPIRED', update, now=NOW - 30.1)


class TestChanges(Base):
    def setUp(self):
        super().setUp()
        self.rows = [row('h1'), row('h2'), row('h3')]
        self.held = self.verify(self.update(*self.rows))
        self.bad = row('h1', Tier.CONTRAINDICATED, issued=NOW)

    def later(self, *rows, **more):
        return self.update(
            *rows, base=self.held, **{'seq': 8, 'issued': NOW + 1, **more}
        )

    def test_changes(self):
        update = self.later(
            self.bad, self.rows[1], row('h4'), lines=['h1', 'h4'], gone=('h3',)
        )
        found = self.verify(update, self.held)
        self.assertEqual(
            {'h1': self.bad, 'h2': self.rows[1], 'h4': row('h4')}, found.rows
        )
        # The one that was held is as it was.
        self.assertEqual({'h1', 'h2', 'h3'}, set(self.held.rows))

    def test_nothing_changed(self):
        update = self.later(*self.rows, lines=[], seq=7)
        self.assertEqual(self.held.rows, self.verify(update, self.held).rows)

    def test_a_name_that_never_was_may_go(self):
        update = self.later(*self.rows, lines=[], gone=('h9',))
        self.assertEqual(self.held.rows, self.verify(update, self.held).rows)

    def test_something_is_hidden(self):
        """A removal, a change, a new host; or something is added."""
        update = self.later(
            self.bad, self.rows[1], row('h4'), lines=['h1', 'h4'], gone=('h3',)
        )
        lines = update.rows.split('\n')
        for changed in (
            {'gone': ()},
            {'gone': ('h3', 'h2')},
            {'rows': lines[0]},
            {'rows': lines[1]},
            {'rows': ''},
            {'base': ''},
        ):
            self.refused(
                'RESULT_FORGED', update._replace(**changed), held=self.held
            )

    def test_another_base(self):
        update = self.later(self.bad, *self.rows[1:], lines=['h1'])
        self.refused('RESULT_FORGED', update)
        other = self.verify(self.update(*self.rows, seq=6))
        self.refused('RESULT_FORGED', update, held=other)
        # Whatever it calls itself.
        other = self.verify(self.update(*self.rows[:2]))
        self.refused('RESULT_FORGED', update, held=other)

    def test_replay(self):
        """An older one never takes the place of what is held."""
        first = self.update(*self.rows)
        held = self.verify(
            self.later(self.bad, *self.rows[1:], lines=['h1']), self.held
        )
        self.refused('RESULT_EXPIRED', first, held=held)
        # Nor does one that claims to have counted more.
        self.refused(
            'RESULT_EXPIRED',
            self.update(*self.rows, seq=9, issued=NOW - 29.1),
            held=held,
        )

    def test_workers_clocks_differ(self):
        update = self.update(*self.rows, seq=8, issued=NOW - 2)
        self.verify(update, self.held)


class TestGoingBack(Base):
    """The service's database was restored; it is asked for all of it."""

    def setUp(self):
        super().setUp()
        self.old = {
            name: row(name, issued=NOW - 50) for name in ('h1', 'h2', 'h3')
        }
        self.held = self.verify(
            self.update(
                row('h1', Tier.CONTRAINDICATED), row('h2'), row('h5'), seq=9
            )
        )

    def test_changes_are_refused(self):
        update = self.update(
            *self.old.values(), base=self.held, seq=3, issued=NOW + 1
        )
        self.refused('RESULT_FORGED', update, held=self.held)

    def test_only_what_was_trusted_is(self):
        for head in ({'seq': 3}, {'seq': 300, 'incarnation': OTHER}):
            found = self.verify(
                self.update(*self.old.values(), issued=NOW + 1, **head),
                self.held,
            )
            none = {
                name: snapshot.Row(
                    name, Tier.NONE, reasons=('RESULT_EXPIRED',)
                )
                for name in ('h1', 'h3')
            }
            self.assertEqual({**none, 'h2': self.old['h2']}, found.rows)

    def test_those_that_waited_or_did_not_enforce(self):
        held = self.verify(
            self.update(
                row('h1', enforcer='ENFORCER_ABSENT'),
                snapshot.Row('h2', Tier.NONE, reasons=('EVICTED',)),
                seq=9,
            )
        )
        found = self.verify(
            self.update(*self.old.values(), issued=NOW + 1, seq=3), held
        )
        self.assertEqual(
            {Tier.NONE}, {one.tier for one in found.rows.values()}
        )

    def test_less_trust_counts(self):
        bad = row('h2', Tier.CONTRAINDICATED, issued=NOW - 50)
        found = self.verify(self.update(bad, seq=3, issued=NOW + 1), self.held)
        self.assertEqual({'h2': bad}, found.rows)

    def test_what_is_new_counts(self):
        new = row('h1', issued=NOW)
        found = self.verify(self.update(new, seq=3, issued=NOW + 1), self.held)
        self.assertEqual({'h1': new}, found.rows)


class TestAuthentic(Base):
    """The short way, for the service's own tokens."""

    def setUp(self):
        super().setUp()
        self.token = result.sign_result(
            result.Result(
                'h1', '00' * 34, Tier.AFFIRMING, (), '', NOW, NOW + 9, CLOUD
            ),
            self.key,
        )

    def test_as_the_long_way(self):
        self.assertEqual(
            tokens.verify(self.token, self.ring, result.KIND),
            {
                **tokens.authentic(self.token, self.ring, result.KIND),
                'kid': self.key.kid,
            },
        )

    def test_every_changed_character(self):
        for index in range(0, len(self.token), 3):
            changed = 'A' if self.token[index] != 'A' else 'g'
            token = self.token[:index] + changed + self.token[index + 1 :]
            self.assertRaises(
                tokens.TokenError,
                tokens.authentic,
                token,
                self.ring,
                result.KIND,
            )

    def test_rubbish(self):
        for token in (
            '',
            '.',
            '..',
            'a.b.c',
            self.token + 'A',
            self.token[:-1],
            self.token + '.',
            'e30.' + self.token.partition('.')[2],
            'W10.' + self.token.partition('.')[2],
            '\udc80.x.y',
        ):
            self.assertRaises(
                tokens.TokenError,
                tokens.authentic,
                token,
                self.ring,
                result.KIND,
            )

    def test_another_cloud(self):
        self.assertRaises(
            tokens.TokenError,
            tokens.authentic,
            self.token,
            dataclasses.replace(self.ring, cloud='c2'),
            result.KIND,
        )
