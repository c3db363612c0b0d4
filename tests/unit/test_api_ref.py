# SPDX-License-Identifier: Apache-2.0
"""The API reference says of each call what the OpenAPI document says."""

import pathlib
import re
import typing

import testtools

from korora_nova import errors
from korora_nova.api import routes, rules
from korora_nova.api.openapi import document
from korora_nova.api.openapi.operations import OPERATIONS

SOURCE = pathlib.Path(__file__).resolve().parents[2] / 'api-ref' / 'source'
#: What any call may be refused with is said once, in errors.inc, as is 404
#: (``NOT_FOUND``) for what has no such name.
EVERYWHERE = {401, 403, 405, 406, 415, 503}
#: Said where it matters to a caller: a body or a query that is no good.
USUAL = {400, 413, 409}
#: What the page says by class: an attestation may meet all of them.
BY_CLASS = {'create_evidence', 'enrol'}


class Section(typing.NamedTuple):
    """What the reference says of one call."""

    call: str
    text: str

    def line(self, title: str) -> str:
        """What follows ``title:``, up to an empty line."""
        found = re.search(
            rf'^{title}: (.*?)(?:\n\n|\Z)', self.text, re.M | re.S
        )
        return ' '.join(found[1].split()) if found else ''

    def codes(self, title: str) -> set[int]:
        return {int(one) for one in re.findall(r'\b\d{3}\b', self.line(title))}

    @property
    def normal(self) -> set[int]:
        return self.codes('Normal response codes')

    @property
    def refused(self) -> set[int]:
        return self.codes('Error response codes')

    @property
    def reasons(self) -> dict[str, int]:
        """Reason id -> the code before it, of those that are named."""
        found, code = {}, 0
        words = re.findall(r'\b\d{3}\b|``[A-Z_]+``', self.refusals)
        for word in words:
            if word.isdigit():
                code = int(word)
            else:
                found[word.strip('`')] = code
        return found

    @property
    def refusals(self) -> str:
        return self.line('Error response codes')


def sections() -> list[Section]:
    found = []
    for path in sorted(SOURCE.rglob('*.inc')):
        parts = re.split(
            r'^\.\. rest_method:: (\S+ \S+)$', path.read_text(), flags=re.M
        )
        found += [
            Section(call, text)
            for call, text in zip(parts[1::2], parts[2::2], strict=True)
        ]
    return found


def routed() -> list[str]:
    return [
        f'{method} {path}'
        for path, methods in routes.ROUTES.items()
        for method in methods
    ]


def operation(call: str) -> dict:
    method, path = call.split()
    return document.build()['paths'][path][method.lower()]


class TestApiRef(testtools.TestCase):
    def test_every_route_is_documented_once(self) -> None:
        self.assertNotEqual([], routed())
        self.assertEqual(
            sorted(routed()), sorted(one.call for one in sections())
        )

    def test_every_route_but_the_versions_has_a_policy(self) -> None:
        ruled = {
            f'{operation["method"]} {operation["path"]}'
            for rule in rules.list_rules()
            for operation in getattr(rule, 'operations', ())
        }
        self.assertEqual({'GET /'}, set(routed()) - ruled)
        self.assertEqual(set(), ruled - set(routed()))

    def test_codes_of_what_is_done(self) -> None:
        for one in sections():
            codes = map(int, operation(one.call)['responses'])
            self.assertEqual(
                {code for code in codes if code < 400}, one.normal, one.call
            )

    def test_codes_of_refusals(self) -> None:
        for one in sections():
            answers = operation(one.call)['responses']
            known = {
                int(code)
                for code, answer in answers.items()
                if int(code) >= 400 and answer['description'] != 'NOT_FOUND'
            }
            self.assertEqual(set(), one.refused - {404} - known, one.call)
            self.assertEqual(
                set(),
                known - one.refused - EVERYWHERE - USUAL,
                f'{one.call} has them, and the reference does not say so',
            )

    def test_reasons(self) -> None:
        for one in sections():
            method, path = one.call.split()
            name = operation(one.call)['operationId']
            known = document.codes(OPERATIONS[name], path, method)
            for reason, code in one.reasons.items():
                self.assertIn(reason, known.get(code, ()), one.call)
            if name in BY_CLASS:
                continue
            own = {
                reason
                for reason in OPERATIONS[name].refused
                if isinstance(reason, str)
                and errors.from_reason(reason).code in (403, 404, 409)
            }
            self.assertEqual(
                set(),
                own - set(one.reasons),
                f'{one.call} has them, and the reference does not say so',
            )

    def test_parameters(self) -> None:
        for one in sections():
            for parameter in operation(one.call)['parameters']:
                name = parameter['name']
                if parameter['in'] == 'query':
                    self.assertRegex(
                        one.text, rf'[`?]{name}\b', f'{one.call}: {name}'
                    )
