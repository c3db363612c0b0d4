# SPDX-License-Identifier: Apache-2.0
"""``openstack attestation host ...``: who may attest."""

import argparse

from korora_nova import client
from korora_nova.osc import base, progress, steps
from korora_nova.rats.words import Tier

COLUMNS = {
    'Name': 'name',
    'Status': 'status',
    'Tier': 'tier',
    'Enforcing': 'enforcing',
    'Last Attested': 'last_attested',
    'Offline Window': 'offline',
    'Reasons': 'reasons',
    'EK Hash': 'ek_hash',
}
LONG = {
    'Certified': 'certified',
    'Enrolled At': 'enrolled_at',
    'Evicted At': 'evicted_at',
    'Enforcer': 'enforcer',
    'Certificate': 'certificate',
    'Streams': 'streams',
    'AK Name': 'ak_name',
}
EVICTED = {
    'Server': 'instance',
    'Done': 'done',
    'Left To Do': 'refused',
    'Consequences': 'consequences',
}
STAMPS = ('enrolled_at', 'last_attested', 'evicted_at')


def _readable(host: client.Answer) -> dict[str, object]:
    return {
        **host,
        **{name: base.when(host.get(name)) for name in STAMPS},
        'enforcer': _enforcer(host.get('enforcer')),
        'certificate': _certificate(host.get('certificate')),
        'offline': _offline(host.get('offline')),
        **(
            {'sources': base.Verdicts(host['sources'])}
            if 'sources' in host
            else {}
        ),
    }


def _enforcer(said: object) -> str | None:
    """The driver that the host's nova-compute runs, and what is wrong."""
    if not isinstance(said, dict):
        return None
    found = f'{said.get("driver")} {said.get("version")}'
    return f'{found}: {said["drift"]}' if said.get('drift') else found


def _certificate(known: object) -> str | None:
    """The certificate with which the host streams, and its end."""
    if not isinstance(known, dict):
        return None
    return f'{known.get("name")} until {base.when(known.get("until"))}'


def _offline(known: object) -> str | None:
    """Until when how many servers start there without the service."""
    if not isinstance(known, dict):
        return None
    return f'{known.get("servers")} servers until ' + str(
        base.when(known.get('until'))
    )


class ListHost(base.LongLister):
    """List the hosts that have enrolled or were approved in advance"""

    SHORT, MORE = COLUMNS, LONG
    FILTERS = {
        'status': ('approved', 'evicted', 'pending', 'preloaded'),
        'tier': tuple(map(str, Tier)),
    }

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        hosts = self.attestation.list_hosts(
            status=parsed_args.status, tier=parsed_args.tier
        )
        return self.rows(parsed_args, [_readable(host) for host in hosts])


class _OneHost(base.AttestationCommand):
    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'host', metavar='<host>', help='Name of the compute host'
        )
        return parser


class ShowHost(_OneHost, base.ShowOne):
    """Show the identity and state of one host"""

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        host = self.attestation.get_host(parsed_args.host)
        return base.record(_readable(host))


class ApproveHost(_OneHost, base.ShowOne):
    """Approve the TPM of a host, before or after it has enrolled.

    Before you approve it, compare the hash with what the TPM holds, or with
    the list of your hardware vendor.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'ek_hash',
            metavar='<ek-hash>',
            help="SHA-256 of the EK certificate's DER form, in hex; of the "
            "EK's name if the TPM has no certificate",
        )
        parser.add_argument(
            '--uncertified',
            action='store_true',
            help=(
                'Approve an EK without a certificate: no maker says that the '
                'key is in a TPM. A program that pretends to be one passes '
                'as well, and whoever copies it has the keys of all servers '
                'there. Only for a hash that you read at the machine itself'
            ),
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        host = self.attestation.approve_host(
            parsed_args.host,
            parsed_args.ek_hash,
            uncertified=parsed_args.uncertified,
        )
        if host.get('certified') is False:
            steps.say(
                f'No TPM maker vouches for {parsed_args.host}: only you do.'
            )
        return base.record(_readable(host))


class DeleteHost(_OneHost):
    """Forget a host and its TPM"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--force',
            action='store_true',
            help=(
                'Delete it even if the ledger says that it holds keys of '
                'servers, which can then no longer be started there'
            ),
        )
        steps.add_yes(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        steps.make_sure(
            parsed_args,
            f'Host {parsed_args.host} is forgotten, with its TPM and its '
            'result, and must enrol and be approved again.',
            *(
                ['The keys that it holds cannot be opened there any more.']
                if parsed_args.force
                else []
            ),
        )
        self.attestation.delete_host(parsed_args.host, force=parsed_args.force)


class EvictHost(_OneHost, base.Lister):
    """Take all keys from a host that is dead or destroyed, for good.

    It cannot attest any more, until it is approved again. Hand-overs to it
    are aborted, those from it decided by what the other end said. Each server
    whose key it held gets a new one at its next start, with the passphrase
    from the key manager: so be sure that the host runs none of them. Repeated,
    it goes on with what was left.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        steps.add_options(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        if parsed_args.dry_run or not parsed_args.yes:
            plans = self._evict(parsed_args, True)
            if parsed_args.dry_run:
                return base.table(EVICTED, [_evicted(one) for one in plans])
            steps.say(f'Host {parsed_args.host} cannot attest any more.')
            steps.confirm(*plans)
        plans = self._evict(parsed_args, False)
        left = sum(1 for one in plans if one.get('refused'))
        if left:
            steps.say(
                f'Something is left to do for {left} servers; then repeat it.'
            )
        return base.table(EVICTED, [_evicted(one) for one in plans])

    def _evict(
        self, parsed_args: argparse.Namespace, dry_run: bool
    ) -> list[client.Answer]:
        """All servers, batch by batch."""
        plans: list[client.Answer] = []
        after = ''
        while True:
            answer = self.attestation.evict_host(
                parsed_args.host,
                parsed_args.reason,
                dry_run=dry_run,
                after=after,
            )
            plans += answer.objects('servers')
            progress.at(f'{len(plans)} servers so far')
            # A batch that does not go on would never end.
            last, after = after, str(answer.get('next') or '')
            if after <= last:
                return plans


def _evicted(plan: client.Answer) -> dict[str, object]:
    return {
        'instance': plan.get('instance'),
        'done': plan.get('done'),
        'refused': steps.refusal(plan.get('refused')),
        'consequences': base.Sentences(plan.member('consequences')),
    }
