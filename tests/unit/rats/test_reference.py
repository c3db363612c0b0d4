# SPDX-License-Identifier: Apache-2.0
import json
import unittest

from korora_nova import errors
from korora_nova.rats import appraise, reference, tpm2
from tests.unit import simulator as sim


def appraised(host):
    return appraise.appraise(
        host.attest(b'c' * 32), ak=tpm2.parse_public(host.tpm.ak_public),
        challenge=b'c' * 32, purpose='attest', host=host.name, body=b'{}',
        references=[], last_clock=None)


class ReferenceTest(unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.host = sim.SimHost()
        self.values = reference.learn('golden', appraised(self.host))

    def test_learned_values(self):
        self.assertEqual({*range(10), *range(11, 16)},
                         set(self.values.pcrs))
        self.assertEqual(2, len(self.values.ima_digests))

    def test_round_trip(self):
        document = json.loads(json.dumps(self.values.to_json()))
        self.assertEqual(self.values,
                         reference.ReferenceValues.from_json(document))

    def test_nothing_to_learn(self):
        for break_it in (
                lambda host: setattr(host, 'uefi_log', b''),
                lambda host: setattr(host, 'ima_log', b'')):
            host = sim.SimHost()
            break_it(host)
            with self.assertRaises(errors.Untrusted):
                reference.learn('golden', appraised(host))

    def test_every_pcr_must_be_compared(self):
        for index in self.values.pcrs:
            document = self.values.to_json()
            for change in (None, []):
                pcrs = dict(document['pcrs'])
                if change is None:
                    del pcrs[str(index)]
                else:
                    pcrs[str(index)] = change
                with self.assertRaises(errors.Invalid):
                    reference.ReferenceValues.from_json(
                        {**document, 'pcrs': pcrs})
        with self.assertRaises(errors.Invalid):
            reference.ReferenceValues('x', {}, frozenset())

    def test_refusals(self):
        document = self.values.to_json()
        for change in ({'version': 2}, {'name': ''}, {'pcrs': None},
                       {'ima_digests': ['x']}, {'more': 1},
                       {'ima_digests': [1]},
                       {'ima_digests': ['sha256:' + 'a' * 64 + '\n']},
                       {'ima_digests': None}):
            with self.assertRaises(errors.Invalid):
                reference.ReferenceValues.from_json({**document, **change})
