# SPDX-License-Identifier: Apache-2.0
import dataclasses
import hashlib
import unittest

import hypothesis
from hypothesis import strategies as st

from korora_nova import errors
from korora_nova.rats import (
    appraise,
    evidence,
    finding,
    ima,
    policy,
    reference,
)
from korora_nova.rats.quote.verify import Clock
from korora_nova.rats.tpm2 import objects
from tests.support import simulator as sim
from tests.support import states, systemd

CHALLENGE = b'c' * 32
# A class and the one below it share tests; no database, no confusion.
SETTINGS = hypothesis.settings(
    deadline=None,
    database=None,
    max_examples=300,
    suppress_health_check=[hypothesis.HealthCheck.differing_executors],
)


def learn(name, appraisal):
    return reference.learn(name, appraisal.state, appraisal.measured.files())


class AppraiseTest(unittest.TestCase):
    vector = 'direct-kernel'

    def setUp(self):
        super().setUp()
        self.host = sim.SimHost(vector=self.vector)
        self.references = ()
        self.references = (learn('golden', self.appraise()),)

    def appraise(self, value=None, references=None, **changes):
        if references is None:
            references = self.references
        return appraise.appraise(
            value or self.host.attest(CHALLENGE),
            **{
                'ak': objects.parse_public(self.host.tpm.ak_public),
                'challenge': CHALLENGE,
                'purpose': 'attest',
                'host': 'h1',
                'body': b'{}',
                'policies': [policy.EXACT.bind(references)],
                'last_clock': None,
                **changes,
            },
        )

    def against(self, *reasons, **changes):
        appraisal = self.appraise(**changes)
        self.assertEqual('contraindicated', appraisal.tier)
        self.assertEqual(reasons, appraisal.reason_ids)
        with self.assertRaises(errors.Untrusted) as caught:
            appraisal.require_affirming()
        self.assertEqual('HOST_UNTRUSTED', caught.exception.reason)
        return appraisal

    def refused(self, reason, **changes):
        with self.assertRaises(errors.KororaError) as caught:
            self.appraise(**changes)
        self.assertEqual(reason, caught.exception.reason)

    def test_good(self):
        appraisal = self.appraise()
        self.assertEqual(
            ('affirming', ()), (appraisal.tier, appraisal.reasons)
        )
        appraisal.require_affirming()
        self.assertEqual(
            (*range(10), *range(11, 16)), appraisal.state.log.agrees
        )
        self.assertIsNone(appraisal.state.log_fault)
        self.assertIsNone(appraisal.state.ima_fault)
        self.assertEqual(3, len(list(appraisal.measured.files())))

    def test_what_lists_hold_is_remembered_for_the_caller(self):
        """And changes nothing of what is found."""
        memos = ima.Memos()
        self.appraise()
        self.assertEqual([], list(memos))
        for _ in range(2):
            appraisal = self.appraise(memos=memos)
            self.assertEqual(
                ('affirming', 3),
                (appraisal.tier, appraisal.measured.entries),
            )
            (known,) = memos
            self.assertEqual(2, len(known.entries))

    def test_no_reference(self):
        self.against('NO_REFERENCE', references=())

    def test_no_policy(self):
        self.against('NO_POLICY', policies=[])

    def test_every_policy_must_hold(self):
        good = policy.EXACT.bind(self.references)
        bad = policy.EXACT.bind(())
        self.assertEqual(
            'affirming', self.appraise(policies=[good, good]).tier
        )
        for policies in ([good, bad], [bad, good]):
            self.against('NO_REFERENCE', policies=policies)

    def test_another_challenge_purpose_host_or_body(self):
        for change in (
            {'challenge': b'd' * 32},
            {'purpose': 'send'},
            {'host': 'h2'},
            {'body': b'{} '},
        ):
            self.refused('QUOTE_NONCE', **change)

    def test_cuckoo(self):
        """T15: another machine's TPM answers."""
        self.refused('QUOTE_SIGNATURE', value=sim.SimHost().attest(CHALLENGE))

    def test_any_pcr_extended(self):
        for index in (*range(10), *range(11, 16)):
            host = self.host = sim.SimHost(vector=self.vector)
            host.tpm.extend(index, b'x' * 32)
            reasons = self.appraise().reason_ids
            self.assertIn('PCR_NOT_GOLDEN', reasons)
            # Those that user space extends are no proof of a false log.
            self.assertEqual(
                index not in (9, 11, 15), 'UEFI_LOG_REPLAY' in reasons
            )

    def test_log_of_systemd(self):
        """It explains a PCR as long as it leads to the quoted value."""
        word = 'machine-id:' + '0' * 32
        self.host.tpm.extend(15, hashlib.sha256(word.encode()).digest())
        value = self.host.attest(CHALLENGE)
        for log, explained in (
            (systemd.log((15, word)), True),
            (systemd.log((15, 'other')), False),
            (b'', False),
        ):
            sent = dataclasses.replace(value, systemd_log=log)
            state = self.appraise(value=sent).state
            self.assertEqual(explained, 15 in state.log.agrees)

    def test_pcr_10_extended(self):
        self.host.tpm.extend(10, b'x' * 32)
        self.against('IMA_LOG_REPLAY')

    def test_unknown_file(self):
        self.host.measure('/bin/evil\n\x1b[31m')
        appraisal = self.against('IMA_UNKNOWN_FILE')
        (found,) = appraisal.reasons
        self.assertIn('/bin/evil??[31m', found.message)
        self.assertEqual(
            ('exact', 'rules/2/ima'),
            (found.details['policy'], found.details['rule']),
        )

    def test_many_unknown_files_are_summed_up(self):
        for index in range(100):
            self.host.measure(f'/bin/{index}')
        appraisal = self.against('IMA_UNKNOWN_FILE')
        self.assertEqual(finding.MAX_LISTED + 1, len(appraisal.reasons))
        self.assertIn('92 more', appraisal.reasons[-1].message)

    def test_violation(self):
        data = b'\x1a\0\0\0sha1:\0' + bytes(20) + b'\6\0\0\0/bin/\0'
        self.host.ima_log += (
            b'\x0a\0\0\0'
            + bytes(20)
            + b'\6\0\0\0ima-ng'
            + len(data).to_bytes(4, 'little')
            + data
        )
        self.host.tpm.extend(10, b'\xff' * 32)
        self.assertIn('IMA_VIOLATION', self.appraise().reason_ids)

    def test_other_measured_boot(self):
        self.host = sim.SimHost(vector='secure-boot')
        self.against('PCR_NOT_GOLDEN')

    def test_one_reference_must_match_completely(self):
        other = dataclasses.replace(
            self.references[0],
            name='other',
            ima_digests=frozenset(),
            pcrs={index: ('00' * 32,) for index in self.references[0].pcrs},
        )
        # PCRs of one reference, files of another: neither matches.
        pcrs = dataclasses.replace(other, pcrs=self.references[0].pcrs)
        files = dataclasses.replace(
            other, ima_digests=self.references[0].ima_digests
        )
        appraisal = self.against('IMA_UNKNOWN_FILE', references=(files, pcrs))
        self.assertEqual('exact', appraisal.reasons[0].details['policy'])
        self.assertEqual(
            'affirming',
            self.appraise(references=(files, pcrs, *self.references)).tier,
        )

    def test_reboot(self):
        before = self.appraise()
        self.host.reboot()
        after = self.appraise(last_clock=before.quote.clock)
        self.assertEqual('affirming', after.tier)

    def test_clock(self):
        clock = self.appraise().quote.clock
        self.appraise(last_clock=clock)
        later = Clock(
            clock.clock_ms + 10**6,
            clock.reset_count,
            clock.restart_count,
            True,
        )
        with self.assertRaises(errors.Retry):
            self.appraise(last_clock=later)
        for resets, restarts in (
            (clock.reset_count + 1, 0),
            (clock.reset_count, 1),
        ):
            self.refused(
                'CLOCK_WENT_BACK', last_clock=Clock(0, resets, restarts, True)
            )

    def test_clock_says_what_it_wants(self):
        with self.assertRaises(errors.EvidenceError) as caught:
            self.appraise(last_clock=Clock(0, 7, 5, True))
        self.assertEqual(
            ('7 5', '1 0'),
            (
                caught.exception.details['want'],
                caught.exception.details['got'],
            ),
        )
        self.assertIn('want 7 5 or later, got 1 0', str(caught.exception))

    def test_findings_come_in_the_order_of_the_checks(self):
        self.host.uefi_log = self.host.uefi_log[:-1]
        self.host.tpm.extend(10, b'x' * 32)
        self.host.tpm.extend(4, b'x' * 32)
        self.against('UEFI_LOG_MALFORMED', 'IMA_LOG_REPLAY', 'PCR_NOT_GOLDEN')


class SecureBootTest(AppraiseTest):
    vector = 'secure-boot'

    def test_other_measured_boot(self):
        self.host = sim.SimHost(vector='direct-kernel')
        self.against('PCR_NOT_GOLDEN')


class LosingAFieldTest(unittest.TestCase):
    """I7: ignoring or losing a field never turns a refusal into a pass."""

    policy = policy.EXACT
    vector = 'direct-kernel'
    tampered_pcrs = (10, 4, 15)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.good = sim.SimHost(vector=cls.vector)
        first = cls.appraise(cls.good, cls.good.attest(CHALLENGE), ())
        cls.references = (learn('golden', first),)
        cls.bad = [cls.tampered(pcr) for pcr in cls.tampered_pcrs]

    @classmethod
    def appraise(cls, host, value, references=None):
        return appraise.appraise(
            value,
            ak=objects.parse_public(host.tpm.ak_public),
            challenge=CHALLENGE,
            purpose='attest',
            host='h1',
            body=b'{}',
            policies=[
                cls.policy.bind(
                    cls.references if references is None else references
                )
            ],
            last_clock=None,
        )

    @classmethod
    def tampered(cls, pcr):
        host = sim.SimHost(vector=cls.vector)
        host.tpm.extend(pcr, hashlib.sha256(b'evil').digest())
        return host

    def never_passes(self, host, document):
        try:
            value = evidence.Evidence.from_json(document)
            tier = self.appraise(host, value).tier
        except (errors.EvidenceError, errors.Invalid, errors.TooLarge):
            return
        self.assertEqual('contraindicated', tier)

    def test_good_evidence_without_any_one_field(self):
        document = self.good.attest(CHALLENGE).to_json()
        for field in document:
            self.never_passes(
                self.good,
                {
                    key: value
                    for key, value in document.items()
                    if key != field
                },
            )
            self.never_passes(
                self.good, {**document, field: {} if field == 'pcrs' else ''}
            )

    @hypothesis.given(st.data())
    @SETTINGS
    def test_bad_host_whatever_it_leaves_out_or_invents(self, data):
        host = data.draw(st.sampled_from(self.bad))
        bad = host.attest(CHALLENGE).to_json()
        good = self.good.attest(CHALLENGE).to_json()
        document = {}
        for field in bad:
            document[field] = data.draw(
                st.sampled_from(
                    [
                        bad[field],
                        bad[field],
                        good[field],
                        {} if field == 'pcrs' else '',
                    ]
                )
            )
        if data.draw(st.booleans()) and document['pcrs']:
            index = data.draw(st.sampled_from(sorted(document['pcrs'])))
            document['pcrs'] = {
                key: value
                for key, value in document['pcrs'].items()
                if key != index
            }
        self.never_passes(host, document)

    @hypothesis.given(st.data())
    @SETTINGS
    def test_bad_host_edits_its_logs(self, data):
        host = data.draw(st.sampled_from(self.bad))
        value = host.attest(CHALLENGE)
        field = data.draw(st.sampled_from(('uefi_log', 'ima_log')))
        log = getattr(value, field)
        start = data.draw(st.integers(0, len(log)))
        end = data.draw(st.integers(start, len(log)))
        fill = data.draw(st.binary(max_size=64))
        value = dataclasses.replace(
            value, **{field: log[:start] + fill + log[end:]}
        )
        self.assertEqual('contraindicated', self.appraise(host, value).tier)


class LosingAFieldUnderRulesTest(LosingAFieldTest):
    """The same for a policy that looks at facts."""

    policy = policy.load(states.starter('debian'))
    vector = 'secure-boot'
    tampered_pcrs = (10, 4, 7)
