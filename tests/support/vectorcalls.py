# SPDX-License-Identifier: Apache-2.0
"""What the cases of tests/vectors/cases call, and what comes of it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from korora_nova.rats import (
    appraise,
    endorsement,
    eventlog,
    evidence,
    ima,
    policy,
    reference,
)
from korora_nova.rats.quote import key as attestation_key
from korora_nova.rats.quote import verify as quote
from korora_nova.rats.tpm2 import objects
from tests.support import makers, simulator, vectors, vectorsteps

Case = dict[str, Any]
PCRS = range(16)


def plain(value: Any) -> Any:
    """Results as YAML can state them.

    Bytes become hex digits, except paths, which become text.
    """
    if isinstance(value, bytes):
        return value.hex()
    if dataclasses.is_dataclass(value):
        return {
            item.name: plain(getattr(value, item.name))
            for item in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if hasattr(value, '_asdict'):
        return plain(value._asdict())
    if isinstance(value, (tuple, list, set, frozenset)):
        return [plain(item) for item in value]
    return value


def uefi(vector: vectors.Vector, case: Case) -> Any:
    """Parse, compare, require if told; facts of log and boot."""
    bank = case.get('bank', 'sha256')
    log = eventlog.parse(vector.files[vectors.UEFI])
    if case.get('verify'):
        verified = log.verify(vector.pcrs[bank], bank)
    else:
        pcrs = {
            index: value
            for index, value in vector.pcrs[bank].items()
            if index != 10
        }
        verified = log.compare(pcrs, bank)
        verified.require(case.get('require', ()))
    boot = verified.boot
    if eventlog.boot_from_json(eventlog.boot_to_json(boot)) != boot:
        raise AssertionError('the document of the boot differs')
    return plain(
        {
            'format': log.format,
            'banks': log.banks,
            'events': log.events,
            'incomplete': log.incomplete,
            'locality': log.locality,
            'agrees': verified.agrees,
            'differs': verified.differs,
        }
    ) | plain(boot)


def signed(vector: vectors.Vector, case: Case) -> Any:
    """Load a key, verify a quote; what it proves."""
    key = attestation_key.load(vector.files[case.get('key', 'ak.tpm2b')])
    selection = case.get('select', vector.about['selection'])
    given = {
        bank: {
            index: vector.pcrs[bank][index]
            for index in indices
            if index in vector.pcrs[bank]
        }
        for bank, indices in case.get(
            'give', vector.about['selection']
        ).items()
        if bank in vector.pcrs
    }
    return plain(
        quote.verify(
            vector.files['attest'],
            vector.files[case.get('signature', 'signature')],
            key,
            vector.nonce,
            given,
            selection,
        )
    )


# -- measurement lists ----------------------------------------------------


@functools.cache
def digests(name: str) -> tuple[str, ...]:
    """Of all that a recorded list names."""
    log = ima.parse(vectors.load(name).files[vectors.IMA])
    return tuple({entry.digest: None for entry in log.entries if entry.digest})


def _rules(vector: vectors.Vector, case: Case) -> ima.Rules:
    """``rules`` of the case: those of a policy, and two more.

    ``learn: true`` admits the digests of the vector as it was recorded,
    ``but`` not those of such paths; ``keys`` are files of the vector.
    """
    rules = dict(case.get('rules', {'learn': True}))
    listed = list(rules.pop('digests', ()))
    if rules.pop('learn', False):
        listed += digests(case['vector'])
    unwanted = rules.pop('but', ())
    log = ima.parse(vectors.load(case['vector']).files[vectors.IMA])
    forbidden = {
        entry.digest for entry in log.entries if _path(entry) in unwanted
    }
    if 'keys' in rules:
        rules['keys'] = [vector.files[name] for name in rules['keys']]
    return ima.Rules(
        [item for item in listed if item not in forbidden], **rules
    )


def _path(entry: ima.Entry) -> str:
    return entry.path.decode(errors='backslashreplace')


def listed(vector: vectors.Vector, case: Case) -> Any:
    """Measure a list, all of it or what follows a state; what was found."""
    bank = case.get('bank', 'sha256')
    banks = case.get('banks', list(vector.pcrs))
    rules = _rules(vector, case)
    data = vector.files[case.get('file', vectors.IMA)]
    state = None
    if 'state' in case:
        state = _state(case, rules, bank)
        data = data[state.bytes :]
    measured = ima.measure(
        data,
        vector.pcrs[bank],
        [rules],
        bank=bank,
        state=state,
        banks={item: vector.pcrs[item] for item in banks},
    )
    files = [
        {**plain(entry), 'path': _path(entry)} for entry in measured.files()
    ]
    if ima.State.from_json(measured.state.to_json()) != measured.state:
        raise AssertionError('the document of the state differs')
    return {
        'entries': files,
        'state': plain(measured.state),
        'findings': plain(measured.findings[0]),
    }


def _state(case: Case, rules: ima.Rules, bank: str) -> ima.State:
    """Of the first entries of the list as it was recorded."""
    earlier = vectorsteps.change(
        vectors.load(case['vector']),
        [{'keep': case['state']}, {'replay': True}],
        vectors.IMA,
    )
    measured = ima.measure(
        earlier.files[vectors.IMA],
        earlier.pcrs[bank],
        [rules],
        bank=bank,
        banks=earlier.pcrs,
    )
    return ima.State.from_json(measured.state.to_json())


def read(vector: vectors.Vector, case: Case) -> Any:
    """Parse and verify a list without rules."""
    bank = case.get('bank', 'sha256')
    log = ima.parse(vector.files[case.get('file', vectors.IMA)])
    return {
        'entries': [
            {**plain(entry), 'path': _path(entry)}
            for entry in log.verify(vector.pcrs[bank], bank)
        ]
    }


# -- endorsements ---------------------------------------------------------


def endorsed(vector: vectors.Vector, case: Case) -> Any:
    """Verify a certificate of an endorsement key."""
    endorsement.verify_ek(
        vector.files[case['ek']],
        objects.parse_public(vector.files['ek_public.bin']),
        endorsement.Endorsers.read(
            {name: vector.files[name] for name in case['endorsers']}
        ),
        makers.NOW,
    )
    return {'accepted': True}


# -- appraisals -----------------------------------------------------------


def _evidence(
    vector: vectors.Vector, case: Case
) -> tuple[evidence.Evidence, objects.Public]:
    """With the recorded quote, or one made over the vector's PCRs."""
    values = {
        index: vector.pcrs['sha256'][index]
        for index in PCRS
        if index in vector.pcrs['sha256']
    }
    logs = (
        vector.files.get(vectors.UEFI, b''),
        vector.files.get(vectors.IMA, b''),
    )
    if not case.get('sign', 'attest' not in vector.files):
        ak = objects.parse_public(vector.files['ak.tpm2b'])
        return evidence.Evidence(
            quote.Quote(
                vector.files['attest'], vector.files['signature'], values
            ),
            *logs,
        ), ak
    tpm = simulator.SimTpm()
    tpm.pcrs.update(values)
    tpm.fields.safe = int(case.get('clock_safe', True))
    made = tpm.quote(evidence.qualify(*_asked(vector)))
    return (
        evidence.Evidence(made, *logs),
        objects.parse_public(tpm.ak_public),
    )


def _asked(vector: vectors.Vector) -> tuple[bytes, str, str, bytes]:
    about = vector.about
    return (
        bytes.fromhex(about.get('challenge', '00' * 32)),
        about.get('purpose', 'attest'),
        about.get('host', 'h1'),
        about.get('body', '{}').encode(),
    )


def _appraise(
    vector: vectors.Vector, case: Case, policies: list[policy.BoundPolicy]
) -> appraise.Appraisal:
    sent, ak = _evidence(vector, case)
    state = _earlier(case, policies) if 'state' in case else None
    if state is not None:
        offset = state.bytes + case.get('skip', 0)
        sent = dataclasses.replace(
            sent, ima_log=sent.ima_log[offset:], ima_offset=offset
        )
    sent = evidence.Evidence.from_json(sent.to_json())
    challenge, purpose, host, body = _asked(vector)
    last = case.get('last_clock')
    return appraise.appraise(
        sent,
        ak=ak,
        challenge=challenge,
        purpose=purpose,
        host=case.get('host', host),
        body=body,
        policies=policies,
        last_clock=quote.Clock(*last) if last else None,
        known=appraise.Known(state),
    )


def _earlier(case: Case, policies: list[policy.BoundPolicy]) -> ima.State:
    """What an appraisal of the first entries left, as it is stored."""
    before = vectorsteps.change(
        vectors.load(case['vector']),
        [{'keep': case['state']}, {'replay': True}],
        vectors.IMA,
    )
    result = _appraise(
        before, {'vector': case['vector'], 'sign': True}, policies
    )
    assert result.measured is not None, result.reasons
    return ima.State.from_json(result.measured.state.to_json())


@functools.cache
def learned(name: str) -> reference.ReferenceValues:
    """What a recorded host teaches."""
    result = _appraise(vectors.load(name), {}, [])
    assert result.measured is not None, result.reasons
    return reference.learn(
        name.partition('/')[2], result.state, result.measured.files()
    )


def _learned_after(case: Case) -> reference.ReferenceValues:
    """What the host teaches once these steps have been taken."""
    vector = vectorsteps.change(
        vectors.load(case['vector']), case['learn-after'], vectors.UEFI
    )
    result = _appraise(vector, {'sign': True}, [])
    assert result.measured is not None, result.reasons
    return reference.learn('changed', result.state, result.measured.files())


def _policy(case: Case) -> policy.Policy:
    """'exact', {file: PATH below the checkout}, or rules."""
    wanted = case.get('policy', 'exact')
    if wanted is None or wanted == 'exact':
        return policy.EXACT
    if isinstance(wanted, dict):
        path = vectors.ROOT.parent.parent / wanted['file']
        return policy.load(yaml.safe_load(path.read_text()))
    return policy.load({'version': 1, 'name': 'case', 'rules': wanted})


def appraised(vector: vectors.Vector, case: Case) -> Any:
    """Appraise a host by a policy and learned references."""
    chosen = _policy(case)
    references = [
        learned(name) for name in case.get('references', ['host/debian-12'])
    ]
    if 'learn-after' in case:
        references = [_learned_after(case)]
    bound = chosen.bind(references)
    result = _appraise(
        vector, case, [bound] if case.get('policy', chosen) else []
    )
    state = appraise.VerifiedState.from_json(result.state.to_json())
    if bound.check(state) != bound.check(result.state):
        raise AssertionError('the document of the state differs')
    facts: dict[str, Any] = {
        'tier': result.tier,
        'reasons': list(result.reason_ids),
        'findings': plain(result.reasons),
    }
    if case.get('diff'):
        files = result.measured.files() if result.measured else ()
        facts['differences'] = plain(
            policy.difference(chosen, references, state, files, 'h1')
        )
    return facts


@dataclasses.dataclass(frozen=True)
class Call:
    """:param file: the file that steps change unless told otherwise.
    :param keys: of cases, besides :data:`KEYS`.
    """

    function: Callable[[vectors.Vector, Case], Any]
    file: str
    keys: frozenset[str]


#: Keys of every case.
KEYS = frozenset(('name', 'vector', 'call', 'change', 'expect', 'not-yet'))


def _call(
    function: Callable[[vectors.Vector, Case], Any], file: str, keys: str
) -> Call:
    return Call(function, file, frozenset(keys.split()))


CALLS = {
    'uefi': _call(uefi, vectors.UEFI, 'bank verify require'),
    'quote': _call(signed, 'attest', 'key signature select give'),
    'ima': _call(listed, vectors.IMA, 'bank banks file rules state'),
    'ima-parse': _call(read, vectors.IMA, 'bank file'),
    'endorsement': _call(endorsed, 'ek', 'ek endorsers'),
    'appraise': _call(
        appraised,
        vectors.UEFI,
        'policy references host '
        'last_clock sign clock_safe diff state skip '
        'learn-after',
    ),
}
