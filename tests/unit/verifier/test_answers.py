# SPDX-License-Identifier: Apache-2.0
"""What use cases answer, and the JSON that leaves the service."""

import json

import testtools

from korora_nova import errors
from korora_nova.api import call
from korora_nova.rats import eventlog, policy, reference
from korora_nova.rats.appraise import Appraisal
from korora_nova.rats.finding import Finding
from korora_nova.rats.verdict import Verdict
from korora_nova.rats.words import Tier
from korora_nova.verifier import enrolment, hosts, results
from korora_nova.verifier.appraisal import differences, policies, references

RESULT = results.HostResult('h1', 'none', ['RESULT_EXPIRED'], None)
HOST = hosts.Host(
    name='h1',
    status='approved',
    ek_hash='ab',
    certified=True,
    ak_name='cd',
    srk_name=None,
    enrolled_at=1.5,
    last_attested=None,
    tier='affirming',
    reasons=(),
    evicted_at=None,
    enforcing=True,
    enforcer=None,
    certificate=None,
    streams='',
    offline=None,
)
LISTED = policies.Listed(
    description='words',
    hosts=['h*'],
    rules=('pcrs', 'ima'),
    name='p',
    uuid=None,
    revision=2,
    created_at=1.5,
    updated_at=2.5,
    actor='me',
)
VALUES = reference.ReferenceValues(
    'golden', {4: ('00' * 32,)}, frozenset(('sha256:ff',))
)
VERDICT = Verdict('keylime', True, True, Tier.AFFIRMING, (), 'id', 1.5, 2.5)
SOURCES = (
    '"sources":[' + json.dumps(VERDICT.to_json(), separators=(',', ':')) + ']'
)


class TestJson(testtools.TestCase):
    """Names, order and form are those of the API reference."""

    def assertJson(self, text: str, answer: call.Document) -> None:
        self.assertEqual(text.encode(), call.json_response(answer).body)

    def test_result(self) -> None:
        text = (
            '{"host":"h1","tier":"none","reasons":["RESULT_EXPIRED"],'
            '"token":null'
        )
        self.assertJson(text + '}', RESULT)
        finding = Finding('IMA_VIOLATION', 'words', {'path': '/x'})
        self.assertJson(
            text + ',"findings":[{"reason":"IMA_VIOLATION",'
            '"message":"words","details":{"path":"/x"}}],' + SOURCES + '}',
            results.ExplainedResult(RESULT, [finding], [VERDICT]),
        )
        self.assertJson(
            '{"results":[' + text + '}],"incarnation":"i","seq":7}',
            results.ResultList([RESULT], results.Mark('i', 7)),
        )

    def test_host(self) -> None:
        text = (
            '{"name":"h1","status":"approved","ek_hash":"ab",'
            '"certified":true,"ak_name":"cd","srk_name":null,"enrolled_at":1.5,'
            '"last_attested":null,"evicted_at":null,"tier":"affirming",'
            '"reasons":[],"enforcing":true,"enforcer":null,"certificate":null,'
            '"streams":"","offline":null'
        )
        self.assertJson(text + '}', HOST)
        self.assertJson(
            text + ',"policies":["exact"],' + SOURCES + '}',
            hosts.JudgedHost(HOST, ['exact'], [VERDICT]),
        )

    def test_credential(self) -> None:
        self.assertJson(
            '{"credential":"AAA=","secret":"AQ==","expires_in":300}',
            enrolment.Credential(b'\0\0', b'\1'),
        )

    def test_policy(self) -> None:
        text = (
            '{"description":"words","hosts":["h*"],"rules":["pcrs","ima"],'
            '"name":"p","uuid":null,"revision":2,"created_at":1.5,'
            '"updated_at":2.5,"actor":"me"'
        )
        self.assertJson(text + '}', LISTED)
        self.assertJson(
            text + ',"document":{"version":1}}',
            policies.Shown(LISTED, {'version': 1}),
        )

    def test_differences(self) -> None:
        one = policy.Difference('rules/0', 'COMMAND_LINE', 'a', '', 'b')
        self.assertJson(
            '{"policy":"p","revision":2,"host":"h1","measured_at":1.5,'
            '"differences":[{"rule":"rules/0","reason":"COMMAND_LINE",'
            '"what":"a","last_good":"","advice":"b"}]}',
            differences.Comparison('p', 2, 'h1', 1.5, (one,)),
        )

    def test_reference(self) -> None:
        head = (
            '{"version":2,"name":"golden","pcrs":{"4":["' + '00' * 32 + '"]},'
        )
        self.assertJson(
            head + '"ima_digests":["sha256:ff"],"measured":{},"boot":null,'
            '"firmware_version":null,"host":"h1","created_at":1.5}',
            references.Reference(VALUES, 'h1', 1.5),
        )
        self.assertJson(
            head + '"firmware_version":null,"ima_digest_count":1,'
            '"components":null,"host":"h1","created_at":1.5}',
            references.BriefReference(VALUES, 'h1', 1.5),
        )

    def test_reference_with_what_booted(self) -> None:
        values = reference.ReferenceValues(
            'golden',
            {4: ('00' * 32,)},
            frozenset(),
            boot=eventlog.BootState(),
        )
        document = references.BriefReference(values, 'h1', 1.5).to_json()
        self.assertEqual(0, document['components'])

    def test_lists(self) -> None:
        self.assertEqual(
            {'results': [RESULT.to_json()]},
            json.loads(call.respond({'results': [RESULT]}).body),
        )


class TestFindings(testtools.TestCase):
    def found(self, *reasons: Finding) -> tuple[Finding, ...]:
        return results.findings(
            Appraisal('contraindicated', reasons, *[None] * 5)
        )

    def test_size_is_bounded(self) -> None:
        details = {str(number): 'x' * 2000 for number in range(20)}
        (found,) = self.found(Finding('IMA_VIOLATION', 'y' * 2000, details))
        self.assertEqual(results.MAX_TEXT, len(found.message))
        self.assertEqual(results.MAX_DETAILS, len(found.details))
        self.assertEqual(
            {results.MAX_TEXT}, set(map(len, found.details.values()))
        )

    def test_number_is_bounded(self) -> None:
        one = Finding('IMA_VIOLATION', 'words')
        most = results.MAX_FINDINGS
        self.assertEqual(most, len(self.found(*[one] * most)))
        *listed, last = self.found(*[one] * (most + 2))
        self.assertEqual([one] * most, listed)
        self.assertEqual(Finding('IMA_VIOLATION', '2 more findings.'), last)


class TestSince(testtools.TestCase):
    def test_number(self) -> None:
        self.assertEqual(results.Since(seq=7), results.Since.parse('7'))

    def test_time(self) -> None:
        for text in ('1970-01-01T00:01:00Z', '1970-01-01T00:01'):
            self.assertEqual(results.Since(time=60), results.Since.parse(text))

    def test_anything_else(self) -> None:
        for text in ('', 'x', '-1', '\u0661', '1970-13-01'):
            error = self.assertRaises(
                errors.Invalid, results.Since.parse, text
            )
            self.assertEqual('INVALID_REQUEST', error.reason)
