# SPDX-License-Identifier: Apache-2.0
import json
import unittest

import hypothesis
from hypothesis import strategies as st

from korora_nova import errors
from korora_nova.rats import evidence
from tests.support import simulator as sim

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


class EvidenceTest(unittest.TestCase):
    document = sim.SimHost().attest(b'c' * 32).to_json()

    def refused(self, document):
        with self.assertRaises(errors.Invalid) as caught:
            evidence.Evidence.from_json(document)
        self.assertEqual('INVALID_REQUEST', caught.exception.reason)

    def test_round_trip(self):
        text = json.dumps(self.document)
        parsed = evidence.Evidence.from_json(json.loads(text))
        self.assertEqual(self.document, parsed.to_json())

    def test_fields_are_exact(self):
        for field in self.document:
            self.refused(
                {
                    key: value
                    for key, value in self.document.items()
                    if key != field
                }
            )
        self.refused({**self.document, 'more': ''})
        self.refused([])
        self.refused(None)

    def test_offset(self):
        self.assertEqual(
            0, evidence.Evidence.from_json(self.document).ima_offset
        )
        later = {**self.document, 'ima_offset': 7}
        parsed = evidence.Evidence.from_json(later)
        self.assertEqual(7, parsed.ima_offset)
        self.assertEqual(later, parsed.to_json())
        for bad in (-1, 1.0, True, None, '7', [], 2**64, 10**400):
            self.refused({**self.document, 'ima_offset': bad})

    def test_log_of_systemd(self):
        parsed = evidence.Evidence.from_json(self.document)
        self.assertEqual(b'', parsed.systemd_log)
        more = {**self.document, 'systemd_log': 'eHl6'}
        parsed = evidence.Evidence.from_json(more)
        self.assertEqual(b'xyz', parsed.systemd_log)
        self.assertEqual(more, parsed.to_json())
        for bad in (None, 7, '!', []):
            self.refused({**self.document, 'systemd_log': bad})

    def test_bank_of_sha1(self):
        host = sim.SimHost()
        host.tpm.sha1 = {index: bytes([index]) * 20 for index in range(8)}
        document = host.attest(b'c' * 32).to_json()
        parsed = evidence.Evidence.from_json(document)
        self.assertEqual(host.tpm.sha1, parsed.quote.sha1)
        self.assertEqual(document, parsed.to_json())
        for bad in (
            {'0': '00' * 32},
            {'24': '00' * 20},
            {'0': None},
            [],
            None,
        ):
            self.refused({**document, 'pcrs_sha1': bad})
        parsed = evidence.Evidence.from_json(self.document)
        self.assertEqual({}, parsed.quote.sha1)

    def test_caps(self):
        for field, limit in (
            ('uefi_log', evidence.MAX_UEFI_LOG),
            ('ima_log', evidence.MAX_IMA_READ),
            ('systemd_log', evidence.MAX_SYSTEMD_LOG),
            ('attest', 4096),
        ):
            with self.assertRaises(errors.TooLarge) as caught:
                evidence.Evidence.from_json(
                    {**self.document, field: 'A' * (limit * 4 // 3 + 8)}
                )
            self.assertEqual({'field': field}, caught.exception.details)

    def test_pcrs(self):
        for bad in (
            {'24': '00' * 32},
            {'01': '00' * 32},
            {'0': '00' * 31},
            {'0': 'zz' * 32},
            {'-1': '00' * 32},
            {'0': None},
            [],
            {'0': '0 ' * 32},
            {'٣': '00' * 32},
        ):
            self.refused({**self.document, 'pcrs': bad})

    @hypothesis.given(st.sampled_from(sorted(document)), JSON)
    @hypothesis.settings(deadline=None, database=None, max_examples=200)
    def test_only_typed_errors(self, field, value):
        try:
            evidence.Evidence.from_json({**self.document, field: value})
        except errors.Invalid:
            pass

    def test_qualify_counts_every_field(self):
        args = (b'c', 'attest', 'h1', b'{}')
        seen = {evidence.qualify(*args)}
        for index, other in enumerate((b'd', 'claim', 'h2', b'{ }')):
            seen.add(
                evidence.qualify(*args[:index], other, *args[index + 1 :])
            )
        self.assertEqual(5, len(seen))
