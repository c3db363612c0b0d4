# SPDX-License-Identifier: Apache-2.0
"""What is fed, and with what to begin.

A target raises nothing but errors of the project. Where evidence is
authenticated by a hash or a signature, the first byte of an input decides
whether it is fed as it is or with the hash or signature that fits.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from korora_nova import errors
from korora_nova.rats import endorsement, eventlog, evidence, ima, policy
from korora_nova.rats.ima import records
from korora_nova.rats.quote import key as attestation_key
from korora_nova.rats.quote import verify as quote
from korora_nova.rats.tpm2 import objects
from korora_tools import checkout
from korora_tools.fuzz import repair
from tests.support import makers, quoter, simulator

VECTORS = checkout.ROOT / 'tests' / 'vectors'
PLAIN, FITTING = b'\0', b'\1'
NONCE = bytes(range(32))

_T = TypeVar('_T')


@dataclass(frozen=True)
class Target:
    """:param size: longest input that is made, bytes.
    :param json: inputs are mutated as documents.
    """

    run: Callable[[bytes], object]
    seeds: Callable[[], Iterator[bytes]]
    size: int = 4096
    json: bool = False


def files(*names: str) -> Iterator[bytes]:
    """The content of every vector of these names."""
    for name in names:
        for path in sorted(VECTORS.rglob(name)):
            yield path.read_bytes()


# -- logs -----------------------------------------------------------------


def uefi(data: bytes) -> None:
    log = eventlog.parse(data)
    for bank in log.banks:
        if bank in log.incomplete:
            continue
        verified = log.compare(log.replay(bank), bank)
        _kept(verified.boot, eventlog.boot_to_json, eventlog.boot_from_json)


def _kept(
    value: _T, dump: Callable[[_T], object], load: Callable[[Any], _T]
) -> None:
    """What was accepted must survive being stored."""
    document = json.loads(json.dumps(dump(value)))
    try:
        again = load(document)
    except errors.KororaError as exc:
        raise AssertionError(str(exc)) from exc
    assert again == value


def uefi_events(data: bytes) -> None:
    uefi(repair.uefi_chunks(data))


def uefi_event_seeds() -> Iterator[bytes]:
    for log in files('binary_bios_measurements'):
        yield repair.chunks_of(
            (event.pcr % 24, event.type, event.data)
            for event in eventlog.parse(log).events
        )


@functools.cache
def rules() -> list[ima.Rules]:
    return [
        ima.Rules(),
        ima.Rules(
            ['sha256:' + '00' * 32],
            files={'/usr/*': ['sha1:' + '00' * 20]},
            exclude=['/tmp/**'],
            keyrings={'.ima': ['sha256:' + '11' * 32]},
            templates=['ima-ng', 'ima-sig'],
        ),
    ]


def _ima(data: bytes, form: str) -> None:
    ima.begins(data)
    ima.aggregate_hash(data)
    list(ima.places(data[: ima.TAIL], lambda: (data,)))
    ima.parse(data, form=form)
    pcrs, at = dict.fromkeys(range(24), bytes(32)), 0
    while at < len(data):
        record = records.READERS[form](
            data, at, records.detect_hash(data, form)
        )
        extension = (
            b'\xff' * 32
            if record.violation
            else hashlib.sha256(record.hashed).digest()
        )
        value = hashlib.sha256(pcrs[record.pcr] + extension).digest()
        pcrs[record.pcr], at = value, record.end
    measured = ima.measure(data, pcrs, rules())
    list(measured.files())
    _kept(measured.state, ima.State.to_json, ima.State.from_json)


def aggregate() -> tuple[bytes, bytes]:
    """The entry that must come first, binary and as text."""
    digest = hashlib.sha256(bytes(320)).digest()
    binary = simulator.ima_entry('boot_aggregate', digest)[0]
    return binary, b'10 %s ima-ng sha256:%s boot_aggregate\n' % (
        binary[4:24].hex().encode(),
        digest.hex().encode(),
    )


def ima_binary(data: bytes) -> None:
    log = data[1:]
    if data[:1] == FITTING:
        log = aggregate()[0] + repair.ima_binary(log)
    _ima(log, 'binary')


def ima_ascii(data: bytes) -> None:
    log = data[1:]
    if data[:1] == FITTING:
        log = aggregate()[1] + repair.ima_ascii(log, _hashed)
    _ima(log, 'ascii')


def _hashed(line: bytes) -> bytes:
    return records.READERS['ascii'](line + b'\n', 0, 'sha1').hashed


def ima_binary_seeds() -> Iterator[bytes]:
    yield from _entries('binary', 'binary_runtime_measurements')


def ima_ascii_seeds() -> Iterator[bytes]:
    yield from _entries('ascii', 'ascii_runtime_measurements')


def _entries(form: str, name: str) -> Iterator[bytes]:
    """Whole entries after the first one, which is the boot aggregate."""
    for log in files(name):
        template_hash = records.detect_hash(log, form)
        ends = [0]
        while ends[-1] < min(len(log), 3000):
            ends.append(
                records.READERS[form](log, ends[-1], template_hash).end
            )
        yield FITTING + log[ends[1] : ends[-1]]
        yield PLAIN + log[: ends[1]]


# -- quotes, keys, certificates ------------------------------------------


@functools.cache
def signer() -> quoter.Quoter:
    return quoter.Quoter(nonce=NONCE)


@functools.cache
def loaded_key() -> attestation_key.AttestationKey:
    return attestation_key.load(signer().public())


@functools.cache
def values() -> quote.Banks:
    return quoter.values({'sha256': tuple(range(16)), 'sha1': (0,)})


def quotes(data: bytes) -> None:
    mode, rest = data[:1], data[1:]
    if mode == FITTING:
        signature = signer().sign(rest)
        quote.verify(rest, signature, loaded_key(), NONCE, values())
    else:
        attest = signer().attest(values())
        quote.verify(attest, rest, loaded_key(), NONCE, values())


def quote_seeds() -> Iterator[bytes]:
    attest = signer().attest(values())
    yield FITTING + attest
    yield FITTING + quoter.sized(attest)
    for signature in (
        signer().sign(attest),
        signer().raw(attest),
        b''.join(signer().halves(attest)),
    ):
        yield PLAIN + signature
    for data in files('attest'):
        yield FITTING + data


def key_seeds() -> Iterator[bytes]:
    yield from files('ak.*')
    for kind, scheme in (
        ('p256', 'ecdsa'),
        ('p384', 'ecdsa'),
        ('rsa2048', 'rsapss'),
    ):
        public = quoter.Quoter(kind, scheme).public()
        yield public
        yield quoter.sized(public)


@functools.cache
def maker() -> makers.Authority:
    return makers.Authority('maker')


@functools.cache
def ek() -> objects.Public:
    return objects.parse_public(
        simulator.rsa_public(quoter.private_key('rsa2048').public_key())
    )


def eks(data: bytes) -> None:
    mode, rest = data[:1], data[1:]
    now = makers.NOW + datetime.timedelta(hours=1)
    good = {'maker.der': maker().der}
    if mode == FITTING:
        endorsement.verify_ek(
            certified(),
            ek(),
            endorsement.Endorsers.read({'fuzz.pem': rest, **good}),
            now,
        )
    elif mode == PLAIN:
        endorsement.verify_ek(
            rest, ek(), endorsement.Endorsers.read(good), now
        )
    else:
        endorsement.verify_ek(
            certified(),
            ek(),
            endorsement.Endorsers.read({'fuzz.crl': rest, **good}),
            now,
        )


@functools.cache
def certified() -> bytes:
    return maker().certify(quoter.private_key('rsa2048').public_key())


def ek_seeds() -> Iterator[bytes]:
    yield PLAIN + certified()
    yield PLAIN + certified() + bytes(99)
    yield FITTING + maker().pem
    yield FITTING + maker().der
    yield b'\2' + maker().crl()
    for path in sorted(VECTORS.glob('field/*/*.der')):
        yield PLAIN + path.read_bytes()
        yield FITTING + path.read_bytes()


# -- documents ------------------------------------------------------------


def policies(data: bytes) -> None:
    policy.load(_json(data)).bind(())


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise errors.Invalid(errors.Reason.INVALID_REQUEST) from None


def policy_seeds() -> Iterator[bytes]:
    digest = 'sha256:' + '00' * 32
    pinned: dict[str, Any] = {
        'pcrs': {
            'registers': [4, 7, 11],
            'bank': 'sha256',
            'generations': [
                {
                    'name': 'x',
                    'values': {
                        '4': '00' * 32,
                        '7': '11' * 32,
                        '11': '22' * 32,
                    },
                }
            ],
        }
    }
    files_: dict[str, Any] = {
        'ima': {
            'digests': [digest],
            'files': {'/usr/*': [digest]},
            'exclude': ['/tmp/**'],
            'references': True,
        }
    }
    rules_: list[dict[str, Any]] = [
        {'event-log': {'pcrs': [0, 1, 2, 7]}},
        {'secure-boot': {'enabled': True}},
        {'signature-database': {'variable': 'db', 'allowed': [digest]}},
        {'authorities': {'allowed': [digest], 'references': True}},
        {'boot-components': {'pcrs': [4], 'allowed': [digest]}},
        {'command-line': {'patterns': ['root=*'], 'forbidden': ['x']}},
        {'tpm': {'firmware-versions': [1, '0x1f'], 'clock-safe': True}},
        {'any-of': [{'all-of': [{'secure-boot': {'enabled': True}}]}]},
    ]
    for rule in rules_:
        yield _document([pinned, files_, rule])
    yield _document([pinned, files_, *rules_])
    yield _document([pinned, {'ima': 'not-appraised'}])


def _document(rules_: list[dict[str, Any]]) -> bytes:
    return json.dumps(
        {'version': 1, 'name': 'x', 'hosts': ['*'], 'rules': rules_}
    ).encode()


def evidences(data: bytes) -> None:
    found = evidence.Evidence.from_json(_json(data))
    again = evidence.Evidence.from_json(found.to_json())
    assert again == found


def evidence_seeds() -> Iterator[bytes]:
    document = simulator.SimHost().attest(b'c' * 32).to_json()
    yield json.dumps(document | {'uefi_log': 'AAAA'}).encode()
    yield json.dumps(
        document | {'uefi_log': '', 'ima_log': '', 'ima_offset': 5}
    ).encode()


TARGETS = {
    'uefi': Target(uefi, lambda: files('binary_bios_measurements'), 32768),
    'uefi-events': Target(uefi_events, uefi_event_seeds),
    'ima-binary': Target(ima_binary, ima_binary_seeds),
    'ima-ascii': Target(ima_ascii, ima_ascii_seeds),
    'quote': Target(quotes, quote_seeds, 1024),
    'key': Target(attestation_key.load, key_seeds, 2048),
    'ek': Target(eks, ek_seeds, 2048),
    'policy': Target(policies, policy_seeds, json=True),
    'evidence': Target(evidences, evidence_seeds, json=True),
}
