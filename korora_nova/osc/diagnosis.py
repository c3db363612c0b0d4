# SPDX-License-Identifier: Apache-2.0
"""What is the matter with a host, or keeps a server from one; pure.

Each check is a function from answers of the service to one
:class:`korora_nova.checks.Result`. What an answer does not tell, as one of a
service of an earlier release, is not called good.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Mapping, Sequence

from korora_nova import checks, errors
from korora_nova.checks import Problem, Result, bad, result, warn
from korora_nova.client import Answer

_R = errors.Reason
#: Difference of two clocks that is still called the same, seconds.
SMALL = 5.0
#: Share of a result's life after which the next one is late.
LATE = 0.75
#: Seconds for which a certificate lasts at least when a stream begins.
REMAINING = 600.0
#: Servers and findings that are named.
SHOWN = 5

#: Issues that end by themselves.
_PASSING = frozenset(('old-key',))

_AGENT = (
    'see whether {host} and its korora-agent run; run "korora-agent check"'
)
#: Reason -> what to do; "{host}" is filled in. Of all others the meaning says.
_ADVICE: Mapping[str, str] = {
    _R.RESULT_EXPIRED: _AGENT,
    _R.RESULT_MISSING: _AGENT,
    _R.HOST_PENDING: 'openstack attestation host approve {host} EK_HASH',
    _R.EVICTED: 'openstack attestation host approve {host} EK_HASH, if it '
    'may come back',
    _R.TPM_CLOCK_UNSAFE: 'shut {host} down cleanly once, or wait',
    _R.CERTIFICATE_MISSING: 'set [attester] migration_tls_dir on {host}, and '
    'see the log of its agent',
    _R.CERTIFICATE_AUTHORITY_MISSING: 'on the service: korora-manage keys '
    'create tls',
}
_RULES = (
    'if the host is as it should be, learn it: openstack attestation '
    'reference create, or a policy; if not, find out who changed it'
)


@dataclasses.dataclass(frozen=True)
class Known:
    """What was asked of one host.

    :param result: of ``GET /v1/results/{host}``, or why there is none.
    :param claims: in its token.
    :param servers: whose key it holds, and of which something is the matter;
        or why they are not known.
    :param offset: seconds by which this clock is ahead of ``whose``; None:
        not known.
    """

    host: Answer
    result: Answer | errors.KororaError
    claims: Mapping[str, object]
    servers: Sequence[Answer] | errors.KororaError
    offset: float | None
    whose: str
    now: float

    @property
    def name(self) -> str:
        return str(self.host.get('name'))

    @property
    def reasons(self) -> list[str]:
        found = self.host.get('reasons')
        return [str(one) for one in found] if isinstance(found, list) else []


def diagnose(known: Known) -> list[Result]:
    """Everything about a host, in the order in which it depends on it."""
    return [
        clock(known.offset, known.whose),
        identity(known),
        heard(known),
        trust(known),
        policy(known),
        enforcement(known.host, known.now),
        streams(known.host, known.now),
        custody(known),
    ]


def unknown(host: str) -> list[Result]:
    """Of a host that the service does not know."""
    return [
        result(
            'identity',
            '',
            [
                bad(
                    f'the service does not know {host}',
                    'start its korora-agent, with the name that '
                    '"openstack hypervisor list" shows as [attester] host',
                )
            ],
        )
    ]


def clock(offset: float | None, whose: str) -> Result:
    """Whether times that are shown here can be compared."""
    advice = 'synchronise this machine and the service (NTP)'
    problems = []
    if offset is None:
        problems.append(warn('not compared: no other clock was heard', advice))
    elif abs(offset) > SMALL:
        problems.append(
            warn(f'this machine is {offset:+.0f} s from {whose}', advice)
        )
    return result('clock', f'as that of {whose}', problems)


def identity(known: Known) -> Result:
    """Whether its TPM is known, and approved."""
    status, problems = known.host.get('status'), []
    approve = (
        f'compare the hash with the TPM, then openstack attestation host '
        f'approve {known.name} {known.host.get("ek_hash")}'
    )
    if status == 'pending':
        problems.append(bad('waits for approval', approve))
    elif status == 'evicted':
        problems.append(
            bad(
                f'was evicted at {_time(known.host.get("evicted_at"))}',
                f'{approve}, if it may come back',
            )
        )
    elif status == 'preloaded':
        problems.append(
            bad(
                'was approved, and has never enrolled',
                _AGENT.format(host=known.name),
            )
        )
    elif status != 'approved':
        problems.append(warn(f'of an unknown status: {status}'))
    if known.host.get('certified') is False:
        problems.append(
            warn('no TPM maker vouches for its endorsement key; you do')
        )
    return result('identity', 'its TPM is known and approved', problems)


def heard(known: Known) -> Result:
    """Whether its agent reaches the service."""
    at = _number(known.host.get('last_attested'))
    advice = _AGENT.format(host=known.name)
    if at is None:
        return result('reachable', '', [bad('it has never attested', advice)])
    age = max(0.0, known.now - at)
    life = _life(known.claims)
    said = f'attested {_span(age)} ago'
    if life is not None and age >= life:
        return result('reachable', '', [bad(f'silent: {said}', advice)])
    if life is not None and age >= LATE * life:
        return result('reachable', '', [warn(f'late: {said}', advice)])
    return result('reachable', said)


def trust(known: Known) -> Result:
    """Whether it is trusted now, and until when; else why not."""
    tier = known.host.get('tier')
    until = _number(known.claims.get('exp'))
    if tier == 'affirming':
        left = '' if until is None else f', for {_span(until - known.now)}'
        return result('trust', f'affirming{left}')
    problems = [
        bad(f'[{reason}] {text}', _advice(reason, known.name))
        for reason, text in _findings(known)
    ]
    return result('trust', '', problems or [bad(f'its tier is {tier}')])


def policy(known: Known) -> Result:
    """Which policies judge it."""
    names = known.host.get('policies')
    if not isinstance(names, list) or not names:
        return result(
            'policy',
            '',
            [warn('not known', 'openstack attestation policy list')],
        )
    return result('policy', ', '.join(map(str, names)))


def enforcement(host: Answer, now: float) -> Result:
    """Whether its nova-compute enforces what is decided."""
    check, said = 'enforcement', host.get('enforcer')
    if not isinstance(said, dict):
        problem = bad(
            'its agent does not hear from nova-compute',
            'start nova-compute with compute_driver = '
            'korora.KororaLibvirtDriver',
        )
        return result(check, '', [problem])
    driver = f'{said.get("driver")} {said.get("version")}'
    if said.get('drift'):
        return result(
            check,
            '',
            [
                bad(
                    f'{driver} refuses protected servers: {said["drift"]}',
                    'see the log of nova-compute there',
                )
            ],
        )
    if not host.get('enforcing'):
        at = _number(said.get('heard_at'))
        ago = '' if at is None else f' {_span(now - at)} ago'
        return result(
            check,
            '',
            [
                bad(
                    f'it does not count: {driver} was heard last{ago}',
                    'see whether nova-compute and korora-agent run there',
                )
            ],
        )
    return result(check, driver)


def streams(host: Answer, now: float) -> Result:
    """Whether protected servers may be streamed to and from it."""
    check, known = 'streams', host.get('certificate')
    refused = host.get('streams')
    if refused:
        return result(
            check,
            '',
            [
                bad(
                    f'[{refused}] {_meaning(str(refused))}',
                    _advice(str(refused), str(host.get('name'))),
                )
            ],
        )
    if not isinstance(known, dict):
        said = 'it has no certificate; none is required'
        return (
            result(check, said)
            if refused == ''
            else result(check, '', [warn('it has no certificate')])
        )
    left = (_number(known.get('until')) or 0.0) - now
    if left < REMAINING:
        return result(
            check,
            '',
            [
                warn(
                    f'its certificate ends in {_span(left)}',
                    'see the log of its agent: it should have a new one',
                )
            ],
        )
    return result(check, f'its certificate is good for {_span(left)}')


def custody(known: Known) -> Result:
    """Whether something is the matter with keys that it holds."""
    check = 'custody'
    if isinstance(known.servers, errors.KororaError):
        return result(
            check,
            '',
            [warn(f'not checked: [{known.servers.reason}]')],
        )
    problems: list[Problem] = []
    for server in known.servers[:SHOWN]:
        for issue in server.objects('issues')[:1]:
            instance = server.get('instance')
            problems.append(
                (warn if issue.get('id') in _PASSING else bad)(
                    f'{instance}: {issue.get("message")}',
                    f'openstack attestation server show {instance}',
                )
            )
    more = len(known.servers) - SHOWN
    if more > 0:
        problems.append(
            bad(
                f'{more} more servers',
                f'openstack attestation server list --issues --holder '
                f'{known.name}',
            )
        )
    return result(check, 'nothing is the matter with its keys', problems)


# -- where a server may go ------------------------------------------------

#: State of a server's key -> why it cannot move; the others let it.
_STATES: Mapping[str, str] = {
    'pending': _R.CUSTODY_PENDING,
    'disputed': _R.CUSTODY_DISPUTED,
    'behind': _R.LEDGER_BEHIND,
    'forked': _R.LEDGER_FORKED,
}


def of_server(
    server: Answer, hosts: Mapping[str, Answer], now: float
) -> Iterator[Result]:
    """What keeps a server where it is, wherever it is to go."""
    instance, state = server.get('instance'), str(server.get('state'))
    show = f'openstack attestation server show {instance}'
    problems = []
    if state in _STATES:
        reason = _STATES[state]
        problems.append(bad(f'[{reason}] {_meaning(reason)}', show))
    elif state != 'held':
        problems.append(
            bad(
                f'nobody holds its key: it is {state}',
                f'start it where it is: openstack server reboot --hard '
                f'{instance}',
            )
        )
    yield result('key', f'{server.get("holder")} holds it', problems)
    holder = str(server.get('holder') or '')
    if not holder:
        return
    if holder not in hosts:
        yield result(
            'source',
            '',
            [bad(f'the service does not know {holder}', show)],
        )
        return
    source = of_destination(hosts[holder], now)
    yield dataclasses.replace(source, id='source')


def of_destination(host: Answer, now: float) -> Result:
    """Whether a host may have a protected server; its id is its name."""
    name = str(host.get('name'))
    reasons = host.get('reasons')
    problems = []
    if host.get('status') != 'approved':
        problems.append(
            bad(
                f'it is {host.get("status")}',
                f'openstack attestation host diagnose {name}',
            )
        )
    elif host.get('tier') != 'affirming':
        words = [
            f'[{one}] {_meaning(str(one))}'
            for one in (reasons if isinstance(reasons, list) else [])[:SHOWN]
        ]
        problems.append(
            bad(
                ' '.join(words) or f'its tier is {host.get("tier")}',
                f'openstack attestation host diagnose {name}',
            )
        )
    else:
        for found in (enforcement(host, now), streams(host, now)):
            if found.level is not checks.Level.OK:
                problems.append(Problem(found.level, found.text, found.advice))
    return result(name, 'trusted, enforcing, with a way to stream', problems)


# -- words ----------------------------------------------------------------


def _findings(known: Known) -> Iterator[tuple[str, str]]:
    """Reasons why a host is not trusted, in sentences if there are any.

    Those of the last attestation say more than reason ids; an expired result
    has none that count.
    """
    sentences: dict[str, str] = {}
    if not isinstance(known.result, errors.KororaError):
        for one in known.result.get('findings') or []:
            reason = str(one.get('reason'))
            sentences.setdefault(reason, str(one.get('message')))
    for reason in known.reasons:
        yield reason, sentences.get(reason) or _meaning(reason)


def _meaning(reason: str) -> str:
    return errors.REASONS.get(reason, 'This client does not know the reason.')


def _advice(reason: str, host: str) -> str:
    known = _ADVICE.get(reason)
    if known is not None:
        return known.format(host=host)
    return _RULES if reason in errors.REASONS else ''


def _life(claims: Mapping[str, object]) -> float | None:
    """How long a result is valid, seconds."""
    issued, expires = _number(claims.get('iat')), _number(claims.get('exp'))
    if issued is None or expires is None:
        return None
    return expires - issued


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value)


def _time(value: object) -> str:
    at = _number(value)
    if at is None:
        return 'an unknown time'
    moment = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
    return moment.strftime('%Y-%m-%d %H:%M UTC')


def _span(seconds: float) -> str:
    """Seconds as people say them."""
    whole = max(0, round(seconds))
    for size, unit in ((86400, 'd'), (3600, 'h'), (60, 'min')):
        if whole >= 2 * size:
            return f'{whole // size} {unit}'
    return f'{whole} s'
