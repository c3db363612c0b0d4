# SPDX-License-Identifier: Apache-2.0
"""``openstack attestation response ...``: what is done about lost trust."""

import argparse
import time
from collections.abc import Sequence

from osc_lib import exceptions

from korora_nova import client
from korora_nova.osc import base, progress, steps

COLUMNS = {
    'ID': 'id',
    'Host': 'host',
    'Driver': 'driver',
    'State': 'state',
    'Reasons': 'reasons',
    'Why': 'why',
    'Error': 'error',
    'Since': 'created_at',
}
LONG = {
    'Attempts': 'attempts',
    'Due At': 'due_at',
    'Updated At': 'updated_at',
    'Actor': 'actor',
    'Note': 'note',
}
#: States, as the service has them.
STATES = (
    'waiting',
    'due',
    'done',
    'undoing',
    'undone',
    'rejected',
    'ended',
    'dry-run',
)
STAMPS = ('created_at', 'updated_at', 'due_at')
#: Something has still to be carried out.
UNFINISHED = ('due', 'undoing')
#: Seconds between two looks.
_LOOK = 1.0


def _readable(response: client.Answer) -> dict[str, object]:
    return {
        **response,
        **{name: base.when(response.get(name)) for name in STAMPS},
    }


def _warn(page: client.Answer) -> None:
    """What stands above all responses."""
    hold, leader = page.get('hold'), page.get('leader')
    if isinstance(hold, dict):
        steps.say(
            f'Responses are held since {base.when(hold.get("since"))}: '
            f'{hold.get("why")}',
            'When those that wait are decided, "openstack attestation '
            'response resume" ends it.',
        )
    if isinstance(leader, dict) and not leader.get('leads'):
        steps.say('No korora-enforcer runs: nothing is carried out.')


class ListResponse(base.LongLister):
    """List what is done about hosts that lost their trust.

    Only what is not over, unless "--all" is given.
    """

    SHORT, MORE = COLUMNS, LONG
    FILTERS = {'host': None, 'state': STATES, 'driver': None}

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--all', action='store_true', help='Those that are over, too'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        found: list[client.Answer] = []
        page = client.Answer()
        for page in self.attestation.response_pages(
            every=parsed_args.all,
            host=parsed_args.host,
            state=parsed_args.state,
            driver=parsed_args.driver,
        ):
            found += page.objects('responses')
        _warn(page)
        return self.rows(parsed_args, [_readable(one) for one in found])


class ShowResponse(base.ShowOne):
    """Show one response, and what its driver has noted"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'response', metavar='<response>', help='UUID of the response'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        shown = self.attestation.get_response(parsed_args.response)
        return base.record(_readable(shown))


class _Decide(base.Lister):
    """Decides about some responses."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'responses',
            metavar='<response>',
            nargs='+',
            help='UUIDs of responses',
        )
        _add_reason(parser)
        return parser

    def decide(self, response: str, reason: str) -> client.Answer:
        raise NotImplementedError

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        return base.table(
            COLUMNS,
            [
                _readable(self.decide(one, parsed_args.reason))
                for one in parsed_args.responses
            ],
        )


class ApproveResponse(_Decide):
    """Let responses that wait be done"""

    def decide(self, response: str, reason: str) -> client.Answer:
        return self.attestation.approve_response(response, reason)


class RejectResponse(_Decide):
    """Let nothing come of responses that wait"""

    def decide(self, response: str, reason: str) -> client.Answer:
        return self.attestation.reject_response(response, reason)


class RevertResponse(base.Lister):
    """Undo responses, or all of them after a mistake.

    With "--all" everything is undone that is open, what waits is rejected, and
    whatever comes is held until "openstack attestation response resume". It
    waits until all is undone; the exit code is 1 if that takes too long.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'responses',
            metavar='<response>',
            nargs='*',
            help='UUIDs of responses',
        )
        parser.add_argument(
            '--all', action='store_true', help='All that are open'
        )
        parser.add_argument(
            '--wait',
            metavar='<seconds>',
            type=float,
            default=60.0,
            help='How long to wait until they are undone, by default 60',
        )
        _add_reason(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        if parsed_args.all == bool(parsed_args.responses):
            raise exceptions.CommandError(
                'Name responses, or give --all for all of them.'
            )
        if parsed_args.all:
            page = self.attestation.revert_responses(parsed_args.reason)
            found = page.objects('responses')
            _warn(page)
        else:
            found = [
                self.attestation.revert_response(one, parsed_args.reason)
                for one in parsed_args.responses
            ]
        left = self._await(found, parsed_args.wait)
        if left:
            raise exceptions.CommandError(
                f'{len(left)} responses are not carried out yet; '
                '"openstack attestation response list" says why.'
            )
        return base.table(COLUMNS, [_carried_out(one) for one in found])

    def _await(
        self, found: Sequence[client.Answer], seconds: float
    ) -> set[object]:
        """Ids of those that are not carried out in time."""
        end = time.monotonic() + seconds
        left = {one['id'] for one in found if one['state'] in UNFINISHED}
        while left and time.monotonic() < end:
            progress.at(f'{len(left)} of {len(found)} are not undone yet')
            time.sleep(_LOOK)
            left &= {
                one['id']
                for one in self.attestation.list_responses()
                if one['state'] in UNFINISHED
            }
        return left


def _carried_out(response: client.Answer) -> dict[str, object]:
    state = response['state']
    return {
        **_readable(response),
        'state': 'undone' if state in UNFINISHED else state,
    }


class ResumeResponse(base.Lister):
    """Hold responses no more, after too many hosts lost their trust.

    Those that wait are not done by it: approve or reject them.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_reason(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        page = self.attestation.resume_responses(parsed_args.reason)
        _warn(page)
        return base.table(
            COLUMNS, [_readable(one) for one in page.objects('responses')]
        )


def _add_reason(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--reason',
        metavar='<text>',
        required=True,
        help='The reason, for the audit trail',
    )
