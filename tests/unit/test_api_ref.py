# SPDX-License-Identifier: Apache-2.0
"""The API reference, the policies and the routes name the same calls."""

import pathlib
import re

import testtools

from korora_nova.api import routes, rules

SOURCE = pathlib.Path(__file__).resolve().parents[2] / 'api-ref' / 'source'


def documented() -> list[str]:
    found: list[str] = []
    for path in sorted(SOURCE.rglob('*.inc')):
        found += re.findall(
            r'^\.\. rest_method:: (\S+ \S+)$', path.read_text(), re.M
        )
    return found


def routed() -> list[str]:
    return [
        f'{method} {path}'
        for path, methods in routes.ROUTES.items()
        for method in methods
    ]


class TestApiRef(testtools.TestCase):
    def test_every_route_is_documented_once(self) -> None:
        self.assertNotEqual([], routed())
        self.assertEqual(sorted(routed()), sorted(documented()))

    def test_every_route_but_the_versions_has_a_policy(self) -> None:
        ruled = {
            f'{operation["method"]} {operation["path"]}'
            for rule in rules.list_rules()
            for operation in getattr(rule, 'operations', ())
        }
        self.assertEqual({'GET /'}, set(routed()) - ruled)
        self.assertEqual(set(), ruled - set(routed()))
