# SPDX-License-Identifier: Apache-2.0
"""The tables of the API agree with each other."""

import inspect
import re

import testtools

from korora_nova.api import handlers, routes, rules
from korora_nova.custody import bodies
from korora_nova.verifier import purposes


class TestTables(testtools.TestCase):
    def test_rules_document_the_routes(self):
        routed = {
            (f'attestation:{route.rule}', method, path)
            for path, methods in routes.ROUTES.items()
            for method, route in methods.items()
            if route.rule is not None
        }
        documented = {
            (rule.name, operation['method'], operation['path'])
            for rule in rules.list_rules()
            for operation in getattr(rule, 'operations', ())
        }
        self.assertEqual(documented, routed)

    def test_each_rule_is_of_one_route(self):
        used = [
            route.rule
            for methods in routes.ROUTES.values()
            for route in methods.values()
            if route.rule is not None
        ]
        self.assertEqual(
            sorted(f'attestation:{rule}' for rule in used),
            sorted(rule.name for rule in rules.RULES),
        )

    def test_handlers_name_their_route(self):
        for path, methods in routes.ROUTES.items():
            for method, route in methods.items():
                self.assertEqual(f'{method} {path}', route.handler.__doc__)

    def test_each_handler_has_a_route(self):
        routed = {
            route.handler
            for methods in routes.ROUTES.values()
            for route in methods.values()
        }
        written = {
            function
            for function in vars(handlers).values()
            if inspect.isfunction(function)
            and function.__module__ == handlers.__name__
        }
        self.assertEqual(written, routed)

    def test_every_call_but_versions_has_a_rule(self):
        self.assertEqual(
            ['/'],
            [
                path
                for path, methods in routes.ROUTES.items()
                if any(route.rule is None for route in methods.values())
            ],
        )

    def test_placeholders_are_checked(self):
        names = {
            name
            for path in routes.ROUTES
            for name in re.findall(r'\{(\w+)\}', path)
        }
        self.assertEqual(names, set(routes.PLACEHOLDERS))

    def test_purposes_have_schemas(self):
        # A part of a list is kept before anything is appraised.
        self.assertEqual(set(bodies.BODIES), {'list', *purposes.PURPOSES})

    def test_only_facts_are_heard_from_untrusted_hosts(self):
        self.assertEqual(
            {'attest', 'present', 'tell'},
            {
                name
                for name, purpose in purposes.PURPOSES.items()
                if purpose.any_tier
            },
        )
        self.assertEqual(
            {
                'attest',
                'present',
                'receive',
                'sealed',
                'send',
                'start',
                'tell',
            },
            {
                name
                for name, purpose in purposes.PURPOSES.items()
                if 'steady' in purpose.classes
            },
        )
