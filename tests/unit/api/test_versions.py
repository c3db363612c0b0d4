# SPDX-License-Identifier: Apache-2.0
"""Which version a request is of, and what answers say of it."""

import pathlib
import re

import testtools
import webob

from korora_nova import errors
from korora_nova.api import faults, versions

HISTORY = (
    pathlib.Path(__file__).resolve().parents[3]
    / 'api-ref/source/v1/history.inc'
)


def asked(*headers: str) -> webob.Request:
    request = webob.Request.blank('/v1/hosts')
    if headers:
        request.headers[versions.HEADER] = ', '.join(headers)
    return request


class TestWanted(testtools.TestCase):
    def test_no_header_is_1_0_for_good(self) -> None:
        self.assertEqual((1, 0), versions.wanted(asked()))

    def test_header(self) -> None:
        for said, version in (
            ('attestation 1.0', (1, 0)),
            ('attestation 1.1', (1, 1)),
            ('Attestation 1.1', (1, 1)),
            ('compute 2.79, attestation 1.1', (1, 1)),
            ('compute 2.79', (1, 0)),
            ('attestation', (1, 0)),
            ('', (1, 0)),
            ('attestation latest', versions.VERSIONS[-1]),
        ):
            self.assertEqual(version, versions.wanted(asked(said)), said)

    def test_versions_that_there_are_not(self) -> None:
        major, minor = versions.VERSIONS[-1]
        for said in ('0.9', '2.0', f'{major}.{minor + 1}', '1.-1', '1.99999'):
            raised = self.assertRaises(
                faults.NotAcceptable,
                versions.wanted,
                asked(f'attestation {said}'),
            )
            self.assertEqual('VERSION_UNKNOWN', raised.reason)
            self.assertEqual(406, raised.code)
            self.assertEqual(
                {'min_version': '1.0', 'max_version': f'{major}.{minor}'},
                raised.details,
            )

    def test_what_is_no_version(self) -> None:
        for said in ('1', 'one', '1.x', '1.1.1', '-', '9' * 5000 + '.1'):
            raised = self.assertRaises(
                errors.Invalid, versions.wanted, asked(f'attestation {said}')
            )
            self.assertEqual(
                (400, 'INVALID_REQUEST'), (raised.code, raised.reason)
            )


class TestHistory(testtools.TestCase):
    def test_each_version_has_a_section(self) -> None:
        self.assertEqual(
            [str(one) for one in versions.VERSIONS],
            re.findall(r'^(\d+\.\d+)\n=+$', HISTORY.read_text(), re.M),
        )

    def test_they_are_in_order(self) -> None:
        self.assertEqual(sorted(set(versions.VERSIONS)), [*versions.VERSIONS])
        self.assertIs(versions.FIRST, versions.VERSIONS[0])


class TestVersioned(testtools.TestCase):
    def test_vary_is_kept(self) -> None:
        def inner(environ, start_response):
            environ[versions.ENV_VERSION] = versions.PAGES
            answer = webob.Response(vary=('Accept',))
            return answer(environ, start_response)

        answer = asked().get_response(versions.Versioned(inner))
        self.assertEqual(f'Accept, {versions.HEADER}', answer.headers['Vary'])
        self.assertEqual('attestation 1.1', answer.headers[versions.HEADER])

    def test_no_version_was_found(self) -> None:
        answer = asked().get_response(versions.Versioned(webob.Response()))
        self.assertEqual(versions.HEADER, answer.headers['Vary'])
        self.assertNotIn(versions.HEADER, answer.headers)
