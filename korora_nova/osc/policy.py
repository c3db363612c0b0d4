# SPDX-License-Identifier: Apache-2.0
"""``openstack attestation policy ...``: the rules that hosts must obey."""

import argparse
import typing

from osc_lib import exceptions

from korora_nova import client, starters
from korora_nova.osc import base, documents, fleet, proposal, steps

COLUMNS = {
    'Name': 'name',
    'Revision': 'revision',
    'Hosts': 'hosts',
    'Rules': 'rules',
    'Updated At': 'updated_at',
}
LONG = {
    'Description': 'description',
    'Created At': 'created_at',
    'Actor': 'actor',
    'UUID': 'uuid',
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


def _add_file(parser: typing.Any, *, required: bool = True) -> None:
    parser.add_argument(
        '--file',
        metavar='<file>',
        required=required,
        help='File with the policy, YAML or JSON; - for standard input',
    )


class CreatePolicy(base.ShowOne):
    """Create a policy from a file, or from a starter and golden hosts.

    The hosts that its "hosts" name (all hosts, if it has none) are judged by
    it from their next attestation on, within a minute or so, and no longer by
    the built-in policy "exact".

    With "--starter" or "--learn" it is tried on the fleet first. What differs
    between the golden hosts and which hosts would fall is shown, and it is
    created only when that is confirmed. Each golden host becomes a reference
    NAME-HOST; a host may have any of the values that one of them has.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'name',
            metavar='<name>',
            nargs='?',
            help='Name of the policy, instead of the one in the file',
        )
        source = parser.add_mutually_exclusive_group(required=True)
        _add_file(source, required=False)
        source.add_argument(
            '--starter',
            metavar='<starter>',
            choices=starters.names(),
            help='Begin with the policy for a distribution: '
            + ', '.join(starters.names()),
        )
        parser.add_argument(
            '--learn',
            metavar='<host>',
            nargs='+',
            action='extend',
            default=[],
            help='Hosts that are as all should be, checked by hand',
        )
        parser.add_argument(
            '--untrusted',
            action='store_true',
            help='Learn from them although they are not affirming',
        )
        parser.add_argument(
            '--dry-run',
            action='store_true',
            help='Say what it would do, and create nothing',
        )
        steps.add_yes(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        document = _document(parsed_args)
        learn = list(dict.fromkeys(parsed_args.learn))
        asks = bool(learn or parsed_args.starter) and not parsed_args.yes
        learned: list[proposal.Learned] = []
        if parsed_args.dry_run or asks:
            answers = fleet.pages(
                lambda marker: self.attestation.propose_policy(
                    document, learn, marker=marker
                )
            )
            if parsed_args.dry_run:
                return proposal.record(document, answers)
            learned = proposal.golden(answers[0], parsed_args.untrusted)
            proposal.confirm(document, answers)
        elif learn:
            first = self.attestation.propose_policy(document, learn)
            learned = proposal.golden(first, parsed_args.untrusted)
        return base.record(
            _readable(
                self.attestation.create_policy(
                    document, list(map(vars, learned))
                )
            )
        )


def _document(parsed_args: argparse.Namespace) -> documents.Document:
    name = parsed_args.file
    if parsed_args.starter:
        name = str(starters.find(parsed_args.starter) / 'appraisal.yaml')
    document = documents.read(name)
    if parsed_args.name:
        document['name'] = parsed_args.name
    return document


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


class ListPolicy(base.LongLister):
    """List policies; "exact" judges the hosts that no policy names"""

    SHORT, MORE = COLUMNS, LONG
    FILTERS = {'host': None}

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        policies = self.attestation.list_policies(host=parsed_args.host)
        return self.rows(parsed_args, [_readable(one) for one in policies])


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

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        steps.add_yes(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        steps.make_sure(
            parsed_args,
            f'Hosts that no other policy than {parsed_args.name} names are '
            'judged by the built-in one from their next attestation on.',
        )
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


class CheckPolicy(_OnePolicy, base.ShowOne):
    """Say which hosts would fall under a policy, and why.

    The policy is tried on the last evidence of the hosts that its "hosts"
    name; nothing changes, and no host is asked. Exit code 0: no host that is
    trusted now would fall; 2: some would, or it is not known of some; 1: it
    could not be tried.
    """

    _exit_code = 0

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--all',
            action='store_true',
            help='Try it on all hosts, not only on those that it names',
        )
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        return super().run(parsed_args) or self._exit_code

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        answers = fleet.pages(
            lambda marker: self.attestation.check_policy(
                parsed_args.name, everyone=parsed_args.all, marker=marker
            )
        )
        found = fleet.Fleet.of(answers)
        self._exit_code = 2 if found.would_fall or found.unknown else 0
        return base.record(
            {
                'name': answers[0].get('policy'),
                'revision': answers[0].get('revision'),
                **found.record(),
            }
        )
