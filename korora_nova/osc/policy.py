# SPDX-License-Identifier: Apache-2.0
"""``openstack attestation policy ...``: the rules that hosts must obey."""

import argparse

from osc_lib import exceptions

from korora_nova import client
from korora_nova.osc import base, documents

COLUMNS = {
    'Name': 'name',
    'Revision': 'revision',
    'Hosts': 'hosts',
    'Rules': 'rules',
    'Updated At': 'updated_at',
}
DIFFERENCES = {
    'Rule': 'rule',
    'Reason': 'reason',
    'What': 'what',
    'Last Good': 'last_good',
    'Advice': 'advice',
}
SENTENCES = ('what', 'last_good', 'advice')
STAMPS = ('created_at', 'updated_at')


def _readable(policy: client.Answer) -> dict[str, object]:
    shown = {
        **policy,
        **{name: base.when(policy.get(name)) for name in STAMPS},
    }
    if isinstance(policy.get('document'), dict):
        shown['document'] = documents.DocumentColumn(policy['document'])
    return shown


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--file',
        metavar='<file>',
        required=True,
        help='File with the policy, YAML or JSON; - for standard input',
    )


class CreatePolicy(base.ShowOne):
    """Create a policy from a file.

    The hosts that its "hosts" name (all hosts, if it has none) are judged by
    it from their next attestation on, within a minute or so, and no longer by
    the built-in policy "exact". Try it first: create it with only a test host
    in "hosts", look at "policy diff", then add the others.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_file(parser)
        parser.add_argument(
            'name',
            metavar='<name>',
            nargs='?',
            help='Name of the policy, instead of the one in the file',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        document = documents.read(parsed_args.file)
        if parsed_args.name:
            document['name'] = parsed_args.name
        return base.record(_readable(self.attestation.create_policy(document)))


class SetPolicy(base.ShowOne):
    """Replace the document of a policy.

    Hosts are judged by the new document from their next attestation on.
    Nothing changes if somebody else changes the policy at the same time.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_file(parser)
        parser.add_argument(
            '--revision',
            metavar='<revision>',
            type=int,
            help='Refuse unless the policy is at this revision',
        )
        parser.add_argument(
            'name', metavar='<name>', help='Name of the policy'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        name, revision = parsed_args.name, parsed_args.revision
        document = {**documents.read(parsed_args.file), 'name': name}
        if revision is None:
            revision = self._revision(name)
        return base.record(
            _readable(self.attestation.update_policy(name, document, revision))
        )

    def _revision(self, name: str) -> int:
        for policy in self.attestation.list_policies():
            if policy['name'] == name:
                return int(policy['revision'])
        raise exceptions.CommandError(f'There is no policy {name}')


class ListPolicy(base.Lister):
    """List policies; "exact" judges the hosts that no policy names"""

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        policies = self.attestation.list_policies()
        return base.table(COLUMNS, [_readable(one) for one in policies])


class _OnePolicy(base.AttestationCommand):
    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'name', metavar='<name>', help='Name of the policy'
        )
        return parser


class ShowPolicy(_OnePolicy, base.ShowOne):
    """Show one policy with its document; "exact" is the built-in one.

    "-f value -c document" prints only the document, as YAML that "policy
    set" accepts.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        return base.record(
            _readable(self.attestation.get_policy(parsed_args.name))
        )


class DeletePolicy(_OnePolicy):
    """Delete a policy.

    From their next attestation on, hosts that no other policy names are
    judged by the built-in one, "exact": all of their PCRs and files must be
    those of one reference.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        self.attestation.delete_policy(parsed_args.name)


class DiffPolicy(_OnePolicy, base.Lister):
    """Say what keeps a host from satisfying a policy, and what to do.

    The policy is compared with the host's last evidence, whether or not it
    applies to that host. If there are no rows, the host satisfies it. "exact"
    is the built-in policy.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'host', metavar='<host>', help='Name of the compute host'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        answer = self.attestation.policy_differences(
            parsed_args.name, parsed_args.host
        )
        return base.table(
            DIFFERENCES,
            [
                {**one, **{name: base.Text(one[name]) for name in SENTENCES}}
                for one in answer['differences']
            ],
        )
