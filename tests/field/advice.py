# SPDX-License-Identifier: Apache-2.0
"""Every advice, followed: before there is the finding, afterwards it is gone.

``TRIALS`` has the keys of ``korora_nova.rats.policy.advice.ADVICE``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from korora_nova import errors
from korora_nova.rats import appraise, eventlog, ima, policy, reference
from korora_nova.rats.eventlog import boot
from korora_nova.rats.finding import Finding
from korora_nova.rats.policy import advice
from korora_nova.rats.state import Explained, VerifiedState
from korora_nova.rats.tpm2 import objects
from tests.support import simulator, states, systemd, vectors

DEBIAN = 'host/debian-12'
A = 'sha256:' + 'a' * 64
PIN = states.PIN
NONE = {'ima': policy.NOT_APPRAISED}
FILE = ima.Entry(A, b'/usr/bin/x', False, 'ima-ng')
Rule = Mapping[str, Any]


class Site(policy.Rule):
    """A site's rule: the host must not have a TPM of release 5."""

    NAME = 'site'
    HELP = 'No release 5.'
    SCHEMA: ClassVar[Mapping[str, object]] = {'type': 'object'}

    @classmethod
    def parse(cls, params: policy.Params, path: str) -> Site:
        return cls(path)

    def check(self, state: VerifiedState) -> list[Finding]:
        if state.firmware_version != 5:
            return []
        return [self.fails('SITE_RULE', 'Release 5.')]


REGISTRY = policy.Registry((*policy.BUILT_IN.values(), Site))


@dataclasses.dataclass(frozen=True)
class Scene:
    """A policy, references, and what a host showed."""

    rules: Sequence[Rule]
    state: VerifiedState = states.recorded(DEBIAN)
    learned: Sequence[reference.ReferenceValues] = (states.learned(DEBIAN),)
    files: Sequence[ima.Entry] = ()

    def causes(self) -> list[str]:
        """Keys of the advices for what is wrong."""
        document = {
            'version': 1,
            'name': 'x',
            'rules': [
                *self.rules,
                *(
                    ()
                    if any('ima' in rule for rule in self.rules)
                    else (NONE,)
                ),
            ],
        }
        loaded = policy.load(document, REGISTRY)
        judgement = loaded.bind(self.learned).judge(self.state)
        found = [*self.state.faults(), *judgement.findings]
        rules = judgement.ima_rules
        if rules is not None:
            found += judgement.of_files(
                item
                for index, entry in enumerate(self.files)
                if (item := rules.check(entry, not index)) is not None
            )
        told = []
        for item in found:
            assert advice.advise(loaded, item, self.state, 'h1')
            told.append(advice.cause(loaded, item, self.state))
        return told

    def but(self, **changes: Any) -> Scene:
        return dataclasses.replace(self, **changes)

    def approved(self) -> Scene:
        """After ``reference create``."""
        one = reference.learn('new', self.state, self.files)
        return self.but(learned=(*self.learned, one))


def changed(name: str = DEBIAN, **facts: Any) -> VerifiedState:
    """The state of a recorded host with other facts of its boot."""
    state = states.recorded(name)
    assert state.boot is not None
    return dataclasses.replace(
        state, boot=dataclasses.replace(state.boot, **facts)
    )


def measured(name: str, change: Callable[[Any], None]) -> VerifiedState:
    """A host whose list was appraised with the PCRs that it quoted."""
    vector = vectors.load(name)
    raw: Any = {
        'log': vector.files[vectors.IMA],
        'pcrs': dict(vector.pcrs['sha256']),
    }
    change(raw)
    fault = None
    try:
        ima.measure(raw['log'], raw['pcrs'], [])
    except errors.EvidenceError as exc:
        fault = Finding.of(exc)
    return dataclasses.replace(states.recorded(DEBIAN), ima_fault=fault)


def trimmed(dropped: bool) -> VerifiedState:
    """A host that was never heard, with or without its whole list."""
    host = simulator.SimHost()
    proof = host.attest(b'c' * 32)
    first = len(simulator.ima_entry('boot_aggregate')[0])
    if dropped:
        proof = dataclasses.replace(proof, ima_log=proof.ima_log[first:])
    found = appraise.appraise(
        proof,
        ak=objects.parse_public(host.tpm.ak_public),
        challenge=b'c' * 32,
        purpose='attest',
        host=host.name,
        body=b'{}',
        policies=(),
        last_clock=None,
    )
    fault = found.state.ima_fault
    return dataclasses.replace(states.recorded(DEBIAN), ima_fault=fault)


def quoted(index: int, name: str = DEBIAN) -> VerifiedState:
    """A host on which something extended a register."""
    whole = vectors.load(name)
    value = b'x' * 32
    pcrs = {**whole.pcrs['sha256'], index: value}
    return states.of(whole.files[vectors.UEFI], pcrs)


def faulty(reason: str) -> VerifiedState:
    return dataclasses.replace(
        states.recorded(DEBIAN),
        log=None,
        boot=None,
        log_fault=Finding(reason, 'x'),
    )


def _digests(name: str, attribute: str) -> list[str]:
    found: Any = states.recorded(name).facts
    return [item.entry.digest for item in getattr(found, attribute)]


def _database(variable: str, **more: Any) -> Rule:
    return {'signature-database': {'variable': variable, **more}}


def _entries(name: str, variable: str) -> list[str]:
    return [
        entry.digest
        for item in states.recorded(name).facts.databases
        if item.name == variable
        for entry in item.entries
    ]


def _unverified(variable: str) -> VerifiedState:
    facts = states.recorded(DEBIAN).facts
    return changed(
        databases=tuple(
            dataclasses.replace(item, verified=item.name != variable)
            for item in facts.databases
        )
    )


def _system_log() -> tuple[Scene, Scene]:
    """PCR 15 of a host with a unified kernel image; its agent is updated."""
    log = eventlog.parse(vectors.load('host/uki').files[vectors.UEFI])
    word = 'machine-id:' + '0' * 32
    pcrs = {**vectors.load('host/uki').pcrs['sha256']}
    values = log.replay()
    digest = eventlog.parse_user_space(systemd.log((15, word)))[0].digests
    pcrs[15] = log._hash('sha256')(values[15] + digest['sha256']).digest()
    without = states.of(vectors.load('host/uki').files[vectors.UEFI], pcrs)
    explained = log.compare(
        {index: pcrs[index] for index in range(16) if index != 10},
        records=eventlog.parse_user_space(systemd.log((15, word))),
    )
    scene = Scene([PIN, {'event-log': {'pcrs': [4, 15]}}], without).approved()
    return scene, scene.but(
        state=dataclasses.replace(
            without, log=Explained.of(explained), boot=explained.boot
        )
    )


def _edited(scene: Scene, *rules: Rule) -> tuple[Scene, Scene]:
    return scene, scene.but(rules=rules)


def _learned(scene: Scene) -> tuple[Scene, Scene]:
    return scene, scene.approved()


def _mended(
    scene: Scene, state: VerifiedState | None = None
) -> tuple[Scene, Scene]:
    return scene, scene.but(state=state or states.recorded(DEBIAN))


def _files(*files: ima.Entry, **params: Any) -> Scene:
    return Scene([PIN, {'ima': params}], files=files)


KEY = (vectors.ROOT / 'ima' / 'ima-sig' / 'key-p256.pem').read_text()
KEYRING = ima.Entry(A, b'.ima', False, 'ima-buf', buffer=b'x')
VIOLATION = ima.Entry('', b'/var/log/x', True, 'ima-ng')
AGGREGATE = states.files(DEBIAN)[0]
RELEASE = dataclasses.replace(states.recorded(DEBIAN), firmware_version=5)
UNSAFE = dataclasses.replace(
    states.recorded(DEBIAN),
    clock=dataclasses.replace(states.recorded(DEBIAN).clock, safe=False),
)
SILENT = changed(
    components=tuple(
        item
        for item in states.recorded(DEBIAN).facts.components
        if item.pcr != 14
    )
)
HIDDEN = changed(
    command_lines=(
        *states.recorded(DEBIAN).facts.command_lines,
        boot.CommandLine('ro', 'grub', False, 8),
    ),
)
OLD = states.recorded('host/debian-12-previous-kernel')
OLD_4 = OLD.pcrs['sha256'][4].hex()
INSECURE = states.recorded('host/debian-12-insecure')
KEYS = states.recorded('uefi/many-keys')
LISTED = {'references': True}
OTHER_FILE = {'digests': ['sha256:' + 'b' * 64]}
AGAIN = ima.Entry('sha256:' + 'b' * 64, b'/usr/bin/x', False, 'ima-ng')


def _ima(params: Rule) -> Rule:
    return {'ima': params}


def _components(**params: Any) -> Rule:
    return {'boot-components': params}


def _log_trials() -> dict[str, list[tuple[Scene, Scene]]]:
    def log(pcrs: list[int]) -> Rule:
        return {'event-log': {'pcrs': pcrs}}

    def ima_trial(name: str, change: Callable[[Any], None]) -> Any:
        return _mended(
            Scene([PIN], measured(name, change)),
            measured(DEBIAN, lambda raw: None),
        )

    return {
        'UEFI_LOG_MISSING': [
            _mended(Scene([PIN, log([4])], faulty('UEFI_LOG_MISSING')))
        ],
        'UEFI_LOG_MALFORMED': [
            _mended(Scene([PIN], faulty('UEFI_LOG_MALFORMED')))
        ],
        'UEFI_LOG_BANK': [
            _mended(Scene([PIN, log([4])], faulty('UEFI_LOG_BANK')))
        ],
        'UEFI_LOG_REPLAY': [
            _edited(Scene([PIN, log([4, 8])], quoted(8)), PIN, log([4])),
            _edited(
                Scene([{'pcrs': {'registers': [4, 8], **LISTED}}], quoted(8)),
                PIN,
            ),
            _edited(
                Scene([PIN, _components(pcrs=[4, 14], **LISTED)], quoted(14)),
                PIN,
                _components(pcrs=[4], **LISTED),
            ),
        ],
        'UEFI_LOG_REPLAY/user-space': [
            _system_log(),
            _edited(
                Scene([PIN, log([4, 15])], quoted(15)).approved(),
                PIN,
                {'pcrs': {'registers': [15], **LISTED}},
            ),
        ],
        'IMA_LOG_MISSING': [
            ima_trial(DEBIAN, lambda raw: raw.update(log=b''))
        ],
        'IMA_LOG_TRIMMED': [
            _mended(
                Scene([PIN], trimmed(dropped=True)), trimmed(dropped=False)
            )
        ],
        'IMA_LOG_REPLAY': [
            ima_trial(DEBIAN, lambda raw: raw['pcrs'].update({10: b'x' * 32}))
        ],
        'IMA_LOG_MALFORMED': [
            ima_trial(DEBIAN, lambda raw: raw.update(log=raw['log'][:-7]))
        ],
        'IMA_TEMPLATE_HASH': [
            ima_trial(
                DEBIAN,
                lambda raw: raw.update(
                    log=raw['log'].replace(b'/bin', b'/bix')
                ),
            )
        ],
        'IMA_BOOT_AGGREGATE': [
            ima_trial(DEBIAN, lambda raw: raw['pcrs'].update({0: b'x' * 32}))
        ],
        'IMA_BOOT_AGGREGATE/bank': [
            ima_trial('ima/hash-sha1', lambda raw: None)
        ],
    }


def _boot_trials() -> dict[str, list[tuple[Scene, Scene]]]:
    four = _components(allowed=[A])
    known = [item.digest for item in OLD.facts.components if item.pcr == 4]
    vouched = _digests(DEBIAN, 'authorities')
    line = {'command-line': {'patterns': ['x']}}
    return {
        'AUTHORITY_UNKNOWN/learn': [
            _learned(
                Scene(
                    [PIN, {'authorities': LISTED}], states.recorded('uefi/mok')
                )
            )
        ],
        'AUTHORITY_UNKNOWN/edit': [
            _edited(
                Scene([PIN, {'authorities': {'allowed': [A]}}]),
                PIN,
                {'authorities': {'allowed': vouched}},
            )
        ],
        'AUTHORITY_UNKNOWN/none': [
            _mended(
                Scene([PIN, {'authorities': LISTED}], changed(authorities=()))
            )
        ],
        'COMPONENT_UNKNOWN/learn': [
            _learned(Scene([_components(**LISTED)], OLD))
        ],
        'COMPONENT_UNKNOWN/edit': [
            _edited(Scene([four], OLD), _components(allowed=known))
        ],
        'COMPONENT_MISSING/learn': [
            _learned(Scene([_components(pcrs=[4, 14], **LISTED)], SILENT))
        ],
        'COMPONENT_MISSING/edit': [
            _edited(
                Scene([_components(required=[A], **LISTED)]),
                _components(**LISTED),
            )
        ],
        'COMMAND_LINE': [
            _mended(
                Scene(
                    [
                        PIN,
                        {'command-line': {**LISTED, 'forbidden': ['init=*']}},
                    ],
                    states.recorded('host/debian-12-option'),
                )
            ),
            _edited(
                Scene([PIN, line]), PIN, {'command-line': {'patterns': ['*']}}
            ),
        ],
        'EVENT_UNVERIFIED/learn': [
            _learned(
                Scene(
                    [PIN, {'command-line': LISTED}],
                    HIDDEN,
                    [states.learned('host/debian-12-previous-kernel')],
                )
            )
        ],
        'EVENT_UNVERIFIED/edit': [
            _edited(
                Scene([PIN, _database('dbx', **LISTED)], _unverified('dbx')),
                PIN,
                {'pcrs': {'registers': [7], **LISTED}},
            )
        ],
        'PCR_NOT_GOLDEN/learn': [_learned(Scene([PIN], OLD))],
        'PCR_NOT_GOLDEN/edit': [
            _edited(_golden('0' * 64), *_golden(OLD_4).rules)
        ],
        'NO_REFERENCE/learn': [_learned(Scene([PIN], learned=()))],
        'SECURE_BOOT_OFF': [
            _mended(Scene([PIN, {'secure-boot': {'enabled': True}}], INSECURE))
        ],
        'SIGNATURE_UNKNOWN/learn': [
            _learned(Scene([PIN, _database('db', **LISTED)], KEYS))
        ],
        'SIGNATURE_UNKNOWN/edit': [
            _edited(
                Scene([PIN, _database('db', allowed=[A])], KEYS),
                PIN,
                _database('db', allowed=_entries('uefi/many-keys', 'db')),
            )
        ],
        'SIGNATURE_FORBIDDEN': [
            _mended(
                Scene(
                    [
                        PIN,
                        _database(
                            'db',
                            forbidden=sorted(
                                {*_entries('uefi/many-keys', 'db')}
                                - {*_entries(DEBIAN, 'db')}
                            ),
                        ),
                    ],
                    KEYS,
                )
            )
        ],
        'SIGNATURE_MISSING': [
            _mended(
                Scene(
                    [PIN, _database('dbx', required=_entries(DEBIAN, 'dbx'))],
                    INSECURE,
                )
            ),
            _edited(
                Scene([PIN, _database('dbx', required=[A])]),
                PIN,
                _database('dbx', **LISTED),
            ),
        ],
        'SIGNATURE_MISSING/shrunk': [
            _mended(Scene([PIN, _database('dbx', **LISTED)], INSECURE)),
            _learned(Scene([PIN, _database('dbx', **LISTED)], INSECURE)),
        ],
        'TPM_FIRMWARE/learn': [
            _learned(Scene([PIN, {'tpm': LISTED}], RELEASE))
        ],
        'TPM_FIRMWARE/edit': [
            _edited(
                Scene([PIN, {'tpm': {'firmware-versions': [1]}}], RELEASE),
                PIN,
                {'tpm': {'firmware-versions': [5]}},
            )
        ],
        'TPM_CLOCK_UNSAFE': [
            _mended(Scene([PIN, {'tpm': {'clock-safe': True}}], UNSAFE))
        ],
        'SITE_RULE': [_edited(Scene([PIN, {'site': {}}], RELEASE), PIN)],
    }


def _golden(value: str) -> Scene:
    values = {'4': value}
    generations = [{'name': 'x', 'values': values}]
    rule = {'pcrs': {'registers': [4], 'generations': generations}}
    return Scene([rule], OLD)


def _file_trials() -> dict[str, list[tuple[Scene, Scene]]]:
    listed = {'files': {'/usr/bin/x': OTHER_FILE['digests']}}
    template = _files(AGAIN, templates=['ima-sig'], **OTHER_FILE)
    return {
        'IMA_UNKNOWN_FILE/learn': [_learned(_files(FILE, **LISTED))],
        'IMA_UNKNOWN_FILE/edit': [
            _edited(_files(FILE, **OTHER_FILE), PIN, _ima({'digests': [A]}))
        ],
        'IMA_WRONG_DIGEST/learn': [_learned(_files(FILE, **listed, **LISTED))],
        'IMA_WRONG_DIGEST/edit': [
            _edited(
                _files(FILE, **listed),
                PIN,
                _ima({'files': {'/usr/bin/x': [A]}}),
            )
        ],
        'IMA_SIGNATURE/learn': [_learned(_files(FILE, keys=[KEY], **LISTED))],
        'IMA_SIGNATURE/edit': [
            _edited(
                _files(FILE, keys=[KEY]),
                PIN,
                _ima({'keys': [KEY], 'digests': [A]}),
            )
        ],
        'IMA_KEYRING/learn': [_learned(_files(KEYRING, **LISTED))],
        'IMA_KEYRING/edit': [
            _edited(
                _files(KEYRING, **OTHER_FILE),
                PIN,
                _ima({**OTHER_FILE, 'keyrings': {'.ima': [A]}}),
            )
        ],
        'IMA_VIOLATION': [
            (
                _files(VIOLATION, **LISTED),
                _files(AGGREGATE, **LISTED),
            ),
            _edited(
                _files(VIOLATION, **LISTED),
                PIN,
                _ima({**LISTED, 'violations': [{'path': '/var/log/*'}]}),
            ),
        ],
        'IMA_KEXEC': [
            (
                _files(AGGREGATE, AGGREGATE, **LISTED),
                _files(AGGREGATE, **LISTED),
            )
        ],
        'IMA_TEMPLATE': [
            (
                template,
                template.but(files=[AGAIN._replace(template='ima-sig')]),
            )
        ],
    }


TRIALS: Mapping[str, Sequence[tuple[Scene, Scene]]] = {
    **_log_trials(),
    **_boot_trials(),
    **_file_trials(),
}


def follow(key: str) -> None:
    """Try one advice in all its ways.

    :raises AssertionError: it does not help.
    """
    for before, after in TRIALS[key]:
        told = before.causes()
        assert key in told, f'{key} is not advised, but {told}'
        left = after.causes()
        assert key not in left, f'{key} does not help: {left}'
