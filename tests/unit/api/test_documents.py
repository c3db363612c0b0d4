# SPDX-License-Identifier: Apache-2.0
"""The tables of the API agree with each other."""

import re

import testtools

from korora_nova.api import handler, policies
from korora_nova.custody import bodies
from korora_nova.verifier import purposes


class TestTables(testtools.TestCase):
    def test_policies_document_the_routes(self):
        routed = {
            (rule, method, path)
            for path, methods in handler.ROUTES.items()
            for method, (_, rule) in methods.items()
            if rule is not None
        }
        documented = {
            (rule.name, operation['method'], operation['path'])
            for rule in policies.list_rules()
            for operation in getattr(rule, 'operations', ())
        }
        self.assertEqual(documented, routed)

    def test_handlers_name_their_route(self):
        for path, methods in handler.ROUTES.items():
            for method, (function, _) in methods.items():
                self.assertEqual(f'{method} {path}', function.__doc__)

    def test_every_call_but_versions_has_a_rule(self):
        self.assertEqual(
            ['/'],
            [
                path
                for path, methods in handler.ROUTES.items()
                if any(rule is None for _, rule in methods.values())
            ],
        )

    def test_placeholders_are_checked(self):
        names = {
            name
            for path in handler.ROUTES
            for name in re.findall(r'\{(\w+)\}', path)
        }
        self.assertEqual(names, set(handler._PLACEHOLDERS))

    def test_purposes_have_schemas(self):
        self.assertEqual(set(bodies.BODIES), set(purposes.PURPOSES))

    def test_only_facts_are_heard_from_untrusted_hosts(self):
        self.assertEqual(
            {'attest', 'commit', 'abort'},
            {
                name
                for name, purpose in purposes.PURPOSES.items()
                if purpose.any_tier
            },
        )
        self.assertEqual(
            {'attest'},
            {
                name
                for name, purpose in purposes.PURPOSES.items()
                if 'steady' in purpose.classes
            },
        )
