# SPDX-License-Identifier: Apache-2.0
import json
import unittest

from korora_nova import errors
from korora_nova.rats import appraise, ima, policy, reference
from korora_nova.rats.tpm2 import objects
from tests.support import simulator as sim


def appraised(host):
    return appraise.appraise(
        host.attest(b'c' * 32),
        ak=objects.parse_public(host.tpm.ak_public),
        challenge=b'c' * 32,
        purpose='attest',
        host=host.name,
        body=b'{}',
        policies=[policy.EXACT.bind(())],
        last_clock=None,
    )


def learned(host):
    appraisal = appraised(host)
    return reference.learn(
        'golden', appraisal.state, appraisal.measured.files()
    )


class ReferenceTest(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.host = sim.SimHost()
        self.values = learned(self.host)

    def test_learned_values(self):
        self.assertEqual({*range(10), *range(11, 16)}, set(self.values.pcrs))
        self.assertEqual(2, len(self.values.ima_digests))

    def test_round_trip(self):
        document = json.loads(json.dumps(self.values.to_json()))
        self.assertEqual(
            self.values, reference.ReferenceValues.from_json(document)
        )

    def test_nothing_to_learn(self):
        for break_it in (
            lambda host: setattr(host, 'uefi_log', b''),
            lambda host: setattr(host, 'ima_log', b''),
        ):
            host = sim.SimHost()
            break_it(host)
            with self.assertRaises(errors.Untrusted):
                reference.learn('golden', appraised(host).state, ())

    def test_a_pcr_that_is_not_there_never_matches(self):
        """I7: a reference that lost a PCR admits no more than before."""
        good = appraised(self.host).state
        for index in self.values.pcrs:
            document = self.values.to_json()
            del document['pcrs'][str(index)]
            less = reference.ReferenceValues.from_json(document)
            self.assertEqual(
                [('PCR_NOT_GOLDEN', str(index))],
                [
                    (found.reason, found.details['pcr'])
                    for found in policy.EXACT.bind([less]).check(good)
                ],
            )
            document['pcrs'][str(index)] = []
            with self.assertRaises(errors.Invalid):
                reference.ReferenceValues.from_json(document)
        with self.assertRaises(errors.Invalid):
            reference.ReferenceValues('x', {}, frozenset())

    def test_version_1_is_still_read(self):
        document = {
            'version': 1,
            'name': 'old',
            'pcrs': self.values.to_json()['pcrs'],
            'ima_digests': sorted(self.values.ima_digests),
        }
        values = reference.ReferenceValues.from_json(document)
        self.assertEqual(
            (self.values.pcrs, self.values.ima_digests),
            (values.pcrs, values.ima_digests),
        )
        self.assertEqual(
            (None, None, {}),
            (values.boot, values.firmware_version, values.measured),
        )
        self.assertEqual(
            (), policy.EXACT.bind([values]).check(appraised(self.host).state)
        )
        self.assertEqual(
            values, reference.ReferenceValues.from_json(values.to_json())
        )
        for index in self.values.pcrs:
            for change in (None, []):
                pcrs = dict(document['pcrs'])
                if change is None:
                    del pcrs[str(index)]
                else:
                    pcrs[str(index)] = change
                with self.assertRaises(errors.Invalid):
                    reference.ReferenceValues.from_json(
                        {**document, 'pcrs': pcrs}
                    )

    def test_only_what_the_log_explains_is_learned(self):
        self.host.tpm.extend(12, b'x' * 32)
        state = appraised(self.host).state
        values = reference.learn('golden', state, ())
        self.assertNotIn(12, values.pcrs)
        self.assertEqual({*range(10), 11, *range(13, 16)}, set(values.pcrs))

    def test_what_user_space_extends_is_learned_as_it_is(self):
        for index in (11, 15):
            self.host.tpm.extend(index, b'x' * 32)
        state = appraised(self.host).state
        values = reference.learn('golden', state, ())
        for index in (11, 15):
            self.assertEqual(
                (self.host.tpm.pcrs[index].hex(),), values.pcrs[index]
            )
            self.assertNotIn(index, values.measured)

    def test_files_of_any_kind_are_learned(self):
        """fs-verity digests; entries without one; the boot aggregate."""
        files = [
            ima.Entry('verity:sha256:' + 'a' * 64, b'/a', False),
            ima.Entry('', b'/b', False, 'n-ng|sig'),
            ima.Entry('sha256:' + 'b' * 64, b'boot_aggregate', False),
        ]
        values = reference.learn('golden', appraised(self.host).state, files)
        self.assertEqual({files[0].digest}, values.ima_digests)
        self.assertEqual(
            values, reference.ReferenceValues.from_json(values.to_json())
        )

    def test_refusals(self):
        document = self.values.to_json()
        for change in (
            {'version': 1},
            {'version': 3},
            {'name': ''},
            {'pcrs': None},
            {'pcrs': {'24': ['a' * 64]}},
            {'pcrs': {'0': ['a' * 63]}},
            {'ima_digests': ['x']},
            {'more': 1},
            {'ima_digests': [1]},
            {'boot': {'version': 1}},
            {'measured': {'0': ['x']}},
            {'measured': {'0': [1]}},
            {'measured': {'0': ['ab' * 32 + '\n']}},
            {'firmware_version': -1},
            {'firmware_version': 'x'},
            {'ima_digests': ['sha256:' + 'a' * 64 + '\n']},
            {'ima_digests': None},
        ):
            with self.assertRaises(errors.Invalid, msg=str(change)):
                reference.ReferenceValues.from_json({**document, **change})
        for garbage in (None, [], 'x', {}):
            with self.assertRaises(errors.Invalid):
                reference.ReferenceValues.from_json(garbage)
