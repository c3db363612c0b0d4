# SPDX-License-Identifier: Apache-2.0
"""What the Tempest plugin expects of roles is what the policies say."""

from __future__ import annotations

import testtools
from oslo_config import cfg
from oslo_context import context

from korora_nova import errors
from korora_nova.api import rules
from korora_tempest_plugin.tests.api import test_rbac as plugin

#: Roles and scope of a token, with the roles that they imply.
TOKENS = {
    plugin.ADMIN: (['admin', 'member', 'reader'], None),
    plugin.READER: (['attestation_reader'], None),
    plugin.ATTESTER: (['attester'], None),
    plugin.SERVICE: (['service'], None),
    plugin.MEMBER: (['member', 'reader'], None),
    plugin.PROJECT_READER: (['reader'], None),
    plugin.SYSTEM_READER: (['reader'], 'all'),
}


class TestTable(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[], default_config_dirs=[])
        self.enforcer = rules.Enforcer(conf)

    def admits(self, user: str, rule: str) -> bool:
        roles, system_scope = TOKENS[user]
        token = context.RequestContext(
            roles=roles,
            system_scope=system_scope,
            project_id=None if system_scope else 'a' * 32,
        )
        try:
            self.enforcer.check(token, rule)
        except errors.Forbidden:
            return False
        return True

    def test_every_user_is_as_the_policies_say(self) -> None:
        self.assertEqual(set(TOKENS), set(plugin.USERS))
        for rule, call in plugin.CALLS.items():
            self.assertEqual(
                {user for user in TOKENS if self.admits(user, rule)},
                set(call.users),
                rule,
            )

    def test_every_rule_is_tried(self) -> None:
        names = {
            rule.name.removeprefix('attestation:')
            for rule in rules.list_rules()
            if rule.name.startswith('attestation:')
        }
        self.assertEqual(names, set(plugin.CALLS))

    def test_every_user_makes_every_call(self) -> None:
        users = [
            one
            for one in vars(plugin).values()
            if isinstance(one, type) and hasattr(one, 'user')
        ]
        self.assertEqual(
            sorted(plugin.USERS), sorted(one.user for one in users)
        )
        for one in users:
            tried = []
            test = one('test_show_keys')
            test.check = tried.append
            for name in dir(one):
                if name.startswith('test_'):
                    getattr(test, name)()
            self.assertEqual(sorted(plugin.CALLS), sorted(tried), one)
