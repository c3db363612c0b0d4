# SPDX-License-Identifier: Apache-2.0
"""``openstack attestation reference ...``: what counts as good."""

import argparse

from korora_nova import client
from korora_nova.osc import base, steps

COLUMNS = {
    'Name': 'name',
    'Host': 'host',
    'PCRs': 'pcrs',
    'IMA Digests': 'ima_digests',
    'Components': 'components',
    'TPM Firmware': 'firmware',
    'Created At': 'created_at',
}
LONG = {'Version': 'version', 'Values': 'values'}


def _summary(reference: client.Answer) -> dict[str, object]:
    """The reference with counts in place of its long lists.

    One from an earlier release has neither components nor firmware.
    """
    boot, firmware = reference.get('boot'), reference.get('firmware_version')
    return {
        'name': reference['name'],
        'host': reference.get('host'),
        'pcrs': sorted(int(pcr) for pcr in reference.get('pcrs') or ()),
        'ima_digests': reference.get(
            'ima_digest_count', len(reference.get('ima_digests') or ())
        ),
        'components': reference.get(
            'components', len(boot['components']) if boot else None
        ),
        'firmware': None if firmware is None else f'{firmware:#x}',
        'created_at': base.when(reference.get('created_at')),
    }


def _long(reference: client.Answer) -> dict[str, object]:
    return {
        **_summary(reference),
        'version': reference.get('version'),
        'values': sum(map(len, (reference.get('pcrs') or {}).values())),
    }


class CreateReference(base.ShowOne):
    """Learn reference values from the last evidence of a host.

    Be sure that the host is good at this moment: every host in the same
    state is trusted from now on.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'name', metavar='<name>', help='Name of the new reference'
        )
        parser.add_argument(
            '--host',
            metavar='<host>',
            required=True,
            help='Host whose last verified evidence becomes the reference',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        made = self.attestation.create_reference(
            parsed_args.name, parsed_args.host
        )
        return base.record(_summary(made))


class ListReference(base.LongLister):
    """List reference values"""

    SHORT, MORE = COLUMNS, LONG
    FILTERS = {'host': None}

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        references = self.attestation.list_references(host=parsed_args.host)
        return self.rows(parsed_args, [_long(one) for one in references])


class _OneReference(base.AttestationCommand):
    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'name', metavar='<name>', help='Name of the reference'
        )
        return parser


class ShowReference(_OneReference, base.ShowOne):
    """Show one reference with all its values"""

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        return base.record(self.attestation.get_reference(parsed_args.name))


class DeleteReference(_OneReference):
    """Delete a reference: hosts that match no other lose trust"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        steps.add_yes(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        steps.make_sure(
            parsed_args,
            f'Hosts that match no other reference than {parsed_args.name} '
            'lose their trust at their next attestation.',
        )
        self.attestation.delete_reference(parsed_args.name)
