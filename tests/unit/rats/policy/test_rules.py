# SPDX-License-Identifier: Apache-2.0
"""Each rule against recorded boots, and against what it must not admit."""

import dataclasses
import hashlib
import unittest

from korora_nova.rats import eventlog, policy
from korora_nova.rats.finding import Finding
from korora_nova.rats.policy import arguments
from korora_nova.rats.quote.verify import Clock
from tests.support import simulator as sim
from tests.support import states

SECURE = 'uefi/secure-boot'
INSECURE = 'uefi/direct-kernel'
DEBIAN = 'host/debian-12'
MICROSOFT = (
    'sha256:48e99b991f57fc52f76149599bff0a58c47154229b9f8d603ac40d3500248507'
)
DEBIAN_CA = (
    'sha256:079646974bce09b1f04da67bd722d1fb0947ae4c4010bccdbba52d5b23cbf1a2'
)
OTHER = 'sha256:' + 'a' * 64


class RuleTestCase(unittest.TestCase):
    def found(self, rule, state, *references):
        if isinstance(state, str):
            state = states.recorded(state)
        found = states.only(rule, *references).check(state)
        for item in found:
            self.assertTrue(item.details['rule'].startswith('rules/0/'))
        return found

    def holds(self, rule, state, *references):
        self.assertEqual([], self.found(rule, state, *references))

    def fails(self, reason, rule, state, *references):
        found = self.found(rule, state, *references)
        self.assertEqual([reason], states.reasons(found))
        return found[0]

    def needs_a_log(self, rule, *references):
        """Without a log the rule says why there is none."""
        for reason in (
            'UEFI_LOG_MISSING',
            'UEFI_LOG_MALFORMED',
            'UEFI_LOG_BANK',
        ):
            state = dataclasses.replace(
                states.recorded(SECURE),
                log=None,
                boot=None,
                log_fault=Finding(reason, 'why'),
            )
            self.assertEqual(
                'why', self.fails(reason, rule, state, *references).message
            )
        self.fails(
            'UEFI_LOG_MISSING',
            rule,
            dataclasses.replace(state, log_fault=None),
            *references,
        )

    def rests_on(self, pcr, rule, *references):
        """Facts of a PCR that the log does not explain are no facts."""
        pcrs = sim.recorded_pcrs('secure-boot')
        pcrs[pcr] = hashlib.sha256(pcrs[pcr]).digest()
        state = states.of(sim.recorded_log('secure-boot'), pcrs)
        found = self.fails('EVENT_UNVERIFIED', rule, state, *references)
        self.assertIn(f'PCR {pcr} ', found.message)


class EventLogTest(RuleTestCase):
    RULE = {'event-log': {'pcrs': [0, 4, 11]}}

    def test_good(self):
        self.holds(self.RULE, SECURE)
        self.needs_a_log(self.RULE)

    def test_extended_after_the_log(self):
        pcrs = sim.recorded_pcrs('secure-boot')
        logged, pcrs[11] = pcrs[11], b'x' * 32
        state = states.of(sim.recorded_log('secure-boot'), pcrs)
        found = self.fails('UEFI_LOG_REPLAY', self.RULE, state)
        self.assertEqual(
            ('11', (b'x' * 32).hex(), logged.hex()),
            tuple(found.details[key] for key in ('pcr', 'want', 'got')),
        )
        self.holds({'event-log': {'pcrs': [0, 4, 12]}}, state)

    def test_what_was_not_quoted_does_not_count(self):
        state = states.recorded(SECURE)
        log = dataclasses.replace(state.log, agrees=(0, 4))
        self.fails(
            'UEFI_LOG_REPLAY', self.RULE, dataclasses.replace(state, log=log)
        )


class PcrsTest(RuleTestCase):
    RULE = {'pcrs': {'registers': [0, 4, 7], 'references': True}}

    def inline(self, *changes):
        values = {
            str(index): states.recorded(SECURE).pcrs['sha256'][index].hex()
            for index in (0, 4, 7)
        }
        return {
            'pcrs': {
                'registers': [0, 4, 7],
                'generations': [
                    {'name': f'g{number}', 'values': {**values, **change}}
                    for number, change in enumerate(changes)
                ],
            }
        }

    def test_references(self):
        good, other = states.learned(SECURE), states.learned(INSECURE)
        self.holds(self.RULE, SECURE, good)
        self.holds(self.RULE, SECURE, other, good)
        self.fails('NO_REFERENCE', self.RULE, SECURE)
        found = self.found(self.RULE, SECURE, other)
        self.assertEqual(
            ['0', '4', '7'], [item.details['pcr'] for item in found]
        )
        self.assertEqual(other.pcrs[0][0], found[0].details['want'])

    def test_generations(self):
        self.holds(self.inline({}), SECURE)
        self.holds(self.inline({'0': '0' * 64}, {}), SECURE)

    def test_one_generation_must_match_in_all_registers(self):
        found = self.fails(
            'PCR_NOT_GOLDEN',
            self.inline({'0': '0' * 64, '4': '0' * 64}, {'7': '0' * 64}),
            SECURE,
        )
        self.assertEqual(
            ('7', 'g1'), (found.details['pcr'], found.details['generation'])
        )
        self.assertEqual('0' * 64, found.details['want'])

    def test_what_was_not_quoted_differs(self):
        state = states.recorded(SECURE)
        for pcrs in ({}, {'sha256': {}}, {'sha1': state.pcrs['sha256']}):
            self.assertEqual(
                3,
                len(
                    self.found(
                        self.inline({}), dataclasses.replace(state, pcrs=pcrs)
                    )
                ),
            )

    def test_what_a_reference_lacks_differs(self):
        good = states.learned(SECURE)
        less = dataclasses.replace(
            good,
            pcrs={
                index: value
                for index, value in good.pcrs.items()
                if index != 4
            },
        )
        self.fails('PCR_NOT_GOLDEN', self.RULE, SECURE, less)

    def test_other_bank(self):
        state = dataclasses.replace(
            states.recorded(SECURE), pcrs={'sha384': {4: b'x' * 48}}
        )
        for value, holds in (('78' * 48, True), ('79' * 48, False)):
            rule = {
                'pcrs': {
                    'registers': [4],
                    'bank': 'sha384',
                    'generations': [{'name': 'x', 'values': {'4': value}}],
                }
            }
            self.assertEqual(holds, not self.found(rule, state))


class SecureBootTest(RuleTestCase):
    RULE = {'secure-boot': {'enabled': True}}

    def test_states(self):
        for name in (SECURE, DEBIAN, 'uefi/shim-grub', 'uefi/uki-secure'):
            self.holds(self.RULE, name)
        for name in (INSECURE, 'uefi/uki', 'host/debian-12-insecure'):
            found = self.fails('SECURE_BOOT_OFF', self.RULE, name)
            self.assertEqual(
                ('on', 'off'), (found.details['want'], found.details['got'])
            )
        self.rests_on(7, self.RULE)
        self.needs_a_log(self.RULE)

    def test_debug_mode(self):
        state = states.recorded(SECURE)
        for text in (b'UEFI Debug Mode', b'UEFI Debug Mode\0'):
            digest = hashlib.sha256(text).hexdigest()
            log = dataclasses.replace(
                state.log,
                measured={
                    **state.log.measured,
                    7: (*state.measured(7), digest),
                },
            )
            self.assertEqual(
                'debug mode',
                self.fails(
                    'SECURE_BOOT_OFF',
                    self.RULE,
                    dataclasses.replace(state, log=log),
                ).details['got'],
            )

    def test_unknown_is_not_on(self):
        state = dataclasses.replace(
            states.recorded(SECURE), boot=eventlog.BootState()
        )
        self.assertEqual(
            'unknown',
            self.fails('SECURE_BOOT_OFF', self.RULE, state).details['got'],
        )
        self.fails(
            'SECURE_BOOT_OFF', self.RULE, dataclasses.replace(state, boot=None)
        )


class SignatureDatabaseTest(RuleTestCase):
    def rule(self, variable='db', **params):
        return {'signature-database': {'variable': variable, **params}}

    def entries(self, variable):
        return [
            entry.digest
            for item in states.recorded(SECURE).boot.databases
            if item.name == variable
            for entry in item.entries
        ]

    def changed(self, variable, *databases):
        """The recorded state with other databases of that name."""
        state = states.recorded(SECURE)
        kept = [item for item in state.boot.databases if item.name != variable]
        return dataclasses.replace(
            state,
            boot=dataclasses.replace(
                state.boot, databases=(*kept, *databases)
            ),
        )

    def database(self, variable, *digests, verified=True):
        return eventlog.SignatureDatabase(
            variable,
            verified,
            tuple(
                eventlog.SignatureEntry('sha256', digest, 'owner', '')
                for digest in digests
            ),
        )

    def test_allowed(self):
        entries = self.entries('db')
        self.assertEqual(2, len(entries))
        self.holds(self.rule(allowed=entries), SECURE)
        self.holds(self.rule(allowed=[*entries, OTHER]), SECURE)
        found = self.fails(
            'SIGNATURE_UNKNOWN', self.rule(allowed=[MICROSOFT]), SECURE
        )
        self.assertIn('CN=Microsoft Windows Production', found.message)

    def test_required(self):
        self.holds(self.rule(required=[MICROSOFT]), SECURE)
        found = self.fails(
            'SIGNATURE_MISSING', self.rule(required=[OTHER]), SECURE
        )
        self.assertIn(OTHER, found.message)
        self.assertEqual(OTHER, found.details['want'])

    def test_forbidden(self):
        self.holds(self.rule(forbidden=[OTHER]), SECURE)
        self.fails(
            'SIGNATURE_FORBIDDEN', self.rule(forbidden=[MICROSOFT]), SECURE
        )

    def test_references(self):
        rule = self.rule(references=True)
        learned = states.learned(SECURE)
        self.holds(rule, SECURE, learned)
        self.fails(
            'SIGNATURE_UNKNOWN',
            rule,
            self.changed('db', self.database('db', MICROSOFT, OTHER)),
            learned,
        )
        self.fails('NO_REFERENCE', rule, SECURE)
        # Setup mode: an empty db allows nothing.
        self.fails('NO_REFERENCE', rule, SECURE, states.learned(INSECURE))

    def test_references_and_inline_values_are_united(self):
        state = self.changed('db', self.database('db', MICROSOFT, OTHER))
        learned = states.learned(SECURE)
        self.holds(self.rule(references=True, allowed=[OTHER]), state, learned)

    def test_revocations_may_be_more(self):
        rule = self.rule('dbx', references=True)
        known = self.entries('dbx')
        learned = states.learned(SECURE)
        self.holds(rule, SECURE, learned)
        self.holds(
            rule,
            self.changed('dbx', self.database('dbx', *known, OTHER)),
            learned,
        )
        self.fails(
            'SIGNATURE_MISSING',
            rule,
            self.changed('dbx', self.database('dbx', OTHER)),
            learned,
        )
        self.fails('NO_REFERENCE', rule, SECURE)

    def test_revocations_of_one_reference_are_enough(self):
        rule = self.rule('dbx', references=True)
        old = states.learned(SECURE)
        new = dataclasses.replace(
            old,
            boot=self.changed(
                'dbx', self.database('dbx', *self.entries('dbx'), OTHER)
            ).boot,
        )
        for references in ((old, new), (new, old)):
            self.holds(rule, SECURE, *references)
        self.fails('SIGNATURE_MISSING', rule, SECURE, new)

    def test_absence_fails(self):
        for params in (
            {'allowed': [OTHER]},
            {'forbidden': [OTHER]},
            {'required': [OTHER]},
            {'references': True},
        ):
            self.fails(
                'SIGNATURE_MISSING',
                self.rule(**params),
                self.changed('db'),
                states.learned(SECURE),
            )

    def test_every_database_of_the_name_counts(self):
        good = self.database('db', MICROSOFT)
        bad = self.database('db', OTHER)
        for databases in ((good, bad), (bad, good)):
            self.fails(
                'SIGNATURE_UNKNOWN',
                self.rule(allowed=[MICROSOFT]),
                self.changed('db', *databases),
            )

    def test_unverified(self):
        good = self.database('db', MICROSOFT)
        loose = self.database('db', MICROSOFT, verified=False)
        for databases in ((loose,), (good, loose), (loose, good)):
            self.fails(
                'EVENT_UNVERIFIED',
                self.rule(allowed=[MICROSOFT]),
                self.changed('db', *databases),
            )

    def test_measured_again_and_again(self):
        state = states.recorded(SECURE)
        (db,) = (item for item in state.boot.databases if item.name == 'db')
        rule = {'signature-database': {'variable': 'db', 'allowed': [OTHER]}}
        again = dataclasses.replace(
            state, boot=dataclasses.replace(state.boot, databases=(db,) * 1000)
        )
        self.assertEqual(self.found(rule, state), self.found(rule, again))

    def test_unverified_is_not_learned(self):
        loose = dataclasses.replace(
            states.learned(SECURE),
            boot=self.changed(
                'db', self.database('db', MICROSOFT, verified=False)
            ).boot,
        )
        self.fails('NO_REFERENCE', self.rule(references=True), SECURE, loose)

    def test_rests_on_pcr_7(self):
        for rule in (
            self.rule(allowed=[MICROSOFT]),
            self.rule('dbx', references=True),
        ):
            self.rests_on(7, rule, states.learned(SECURE))
            self.needs_a_log(rule, states.learned(SECURE))


class AuthoritiesTest(RuleTestCase):
    RULE = {'authorities': {'references': True}}
    INLINE = {'authorities': {'allowed': [MICROSOFT, DEBIAN_CA]}}

    def changed(self, *authorities):
        state = states.recorded(SECURE)
        return dataclasses.replace(
            state,
            boot=dataclasses.replace(state.boot, authorities=authorities),
        )

    def test_good(self):
        self.holds(self.INLINE, SECURE)
        self.holds(self.RULE, SECURE, states.learned(SECURE))
        self.fails('NO_REFERENCE', self.RULE, SECURE)
        self.fails('NO_REFERENCE', self.RULE, SECURE, states.learned(INSECURE))
        self.rests_on(7, self.INLINE)
        self.needs_a_log(self.INLINE)

    def test_unknown(self):
        found = self.fails(
            'AUTHORITY_UNKNOWN',
            {'authorities': {'allowed': [MICROSOFT]}},
            SECURE,
        )
        self.assertIn('CN=Debian Secure Boot CA', found.message)

    def test_none_at_all(self):
        self.fails('AUTHORITY_UNKNOWN', self.INLINE, INSECURE)

    def test_unverified(self):
        first, second = states.recorded(SECURE).boot.authorities
        for bad in (
            dataclasses.replace(second, verified=False),
            dataclasses.replace(second, entry=None),
            eventlog.Authority('', None, False),
        ):
            self.fails(
                'EVENT_UNVERIFIED', self.INLINE, self.changed(first, bad)
            )
            self.fails(
                'EVENT_UNVERIFIED',
                self.INLINE,
                self.changed(bad, first, second),
            )

    def test_unverified_but_all_measurements_are_known(self):
        state = self.changed(eventlog.Authority('', None, False))
        self.holds(self.RULE, state, states.learned(SECURE))
        extended = dataclasses.replace(
            state.log,
            measured={
                **state.log.measured,
                7: (*state.log.measured[7], 'ab' * 32),
            },
        )
        self.fails(
            'EVENT_UNVERIFIED',
            self.RULE,
            dataclasses.replace(state, log=extended),
            states.learned(SECURE),
        )


class BootComponentsTest(RuleTestCase):
    RULE = {'boot-components': {'pcrs': [4, 9, 14], 'references': True}}

    def test_good(self):
        for name in (SECURE, INSECURE, DEBIAN, 'uefi/systemd-boot-uki'):
            self.holds(self.RULE, name, states.learned(name))
            self.holds(
                {'boot-components': {'references': True}},
                name,
                states.learned(name),
            )
        self.fails('NO_REFERENCE', self.RULE, SECURE)
        for pcr in (4, 9, 14):
            self.rests_on(pcr, self.RULE, states.learned(SECURE))
        self.needs_a_log(self.RULE, states.learned(SECURE))

    def test_inline(self):
        (kernel,) = states.recorded(INSECURE).boot.components[3:4]
        for item in (
            kernel.digest,
            {'digest': kernel.digest, 'name': 'linux 6.1'},
        ):
            self.holds({'boot-components': {'allowed': [item]}}, INSECURE)
        self.fails(
            'COMPONENT_UNKNOWN',
            {'boot-components': {'allowed': [OTHER]}},
            INSECURE,
        )

    def test_another_kernel(self):
        found = self.found(
            self.RULE, 'host/debian-12-previous-kernel', states.learned(DEBIAN)
        )
        self.assertEqual(['COMPONENT_UNKNOWN'], states.reasons(found))
        self.assertIn(
            'kernel 6.1.0-55-amd64 (sha256:',
            ' '.join(item.message for item in found),
        )

    def test_of_another_pcr(self):
        """What may be read by GRUB may not be started by firmware."""
        state = states.recorded(SECURE)
        moved = [
            *state.boot.components,
            *(
                dataclasses.replace(item, pcr=4)
                for item in state.boot.components
                if item.pcr == 9
            ),
        ]
        self.fails(
            'COMPONENT_UNKNOWN',
            self.RULE,
            dataclasses.replace(
                state,
                boot=dataclasses.replace(state.boot, components=tuple(moved)),
            ),
            states.learned(SECURE),
        )

    def test_what_the_log_calls_it_does_not_matter(self):
        state = states.recorded('host/debian-12-previous-kernel')
        for kind in ('configuration', 'module', 'firmware', 'anything'):
            hidden = [
                dataclasses.replace(
                    item, kind=kind, name='grub.cfg', version=''
                )
                for item in state.boot.components
            ]
            self.fails(
                'COMPONENT_UNKNOWN',
                self.RULE,
                dataclasses.replace(
                    state,
                    boot=dataclasses.replace(
                        state.boot, components=tuple(hidden)
                    ),
                ),
                states.learned(DEBIAN),
            )

    def test_relabelled_in_the_log(self):
        """The log says that the kernel is an action: nobody cares."""
        log = bytearray(sim.recorded_log('secure-boot'))
        parsed = eventlog.parse(bytes(log))
        for event in parsed.events:
            if event.pcr == 4 and event.type == 0x80000003:
                log[event.offset + 4 : event.offset + 8] = (
                    0x80000007
                ).to_bytes(4, 'little')
        state = states.of(bytes(log), sim.recorded_pcrs('secure-boot'))
        self.assertEqual(states.recorded(SECURE).log, state.log)
        self.fails(
            'COMPONENT_UNKNOWN', self.RULE, state, states.learned(INSECURE)
        )
        self.holds(self.RULE, state, states.learned(SECURE))

    def test_a_pcr_with_nothing_is_not_what_references_have(self):
        state = states.recorded(DEBIAN)
        for missing in (4, 14):
            left = tuple(
                item for item in state.boot.components if item.pcr != missing
            )
            self.fails(
                'COMPONENT_MISSING',
                {'boot-components': {'pcrs': [4, 14], 'references': True}},
                dataclasses.replace(
                    state,
                    boot=dataclasses.replace(state.boot, components=left),
                ),
                states.learned(DEBIAN),
            )

    def test_order_and_number_count(self):
        """Root can extend a PCR with what is missing, but too late."""
        state = states.recorded(DEBIAN)
        started = [item for item in state.boot.components if item.pcr == 4]
        shim, grub, kernel, again = started
        self.assertEqual(kernel.digest, again.digest)
        rule = {'boot-components': {'references': True}}
        for items in (
            (shim, kernel, again),
            (shim, kernel, again, grub),
            (*started, kernel),
            (shim, *started),
            (shim, grub),
        ):
            state = dataclasses.replace(
                state, boot=dataclasses.replace(state.boot, components=items)
            )
            found = self.fails(
                'COMPONENT_UNKNOWN', rule, state, states.learned(DEBIAN)
            )
            self.assertIn('in this order', found.message)
        listed = {
            'boot-components': {'references': True, 'allowed': [kernel.digest]}
        }
        self.holds(
            listed,
            dataclasses.replace(
                state,
                boot=dataclasses.replace(
                    state.boot, components=(shim, kernel, grub)
                ),
            ),
            states.learned(DEBIAN),
        )

    def test_required(self):
        (kernel,) = states.recorded(INSECURE).boot.components[3:4]
        rule = {
            'boot-components': {
                'references': True,
                'required': [kernel.digest],
            }
        }
        self.holds(rule, INSECURE, states.learned(INSECURE))
        self.fails('COMPONENT_MISSING', rule, SECURE, states.learned(SECURE))

    def test_nothing_measured(self):
        state = states.recorded(SECURE)
        empty = dataclasses.replace(state, boot=eventlog.BootState())
        self.fails(
            'COMPONENT_MISSING', self.RULE, empty, states.learned(SECURE)
        )
        self.fails(
            'COMPONENT_MISSING',
            self.RULE,
            dataclasses.replace(state, boot=None),
            states.learned(SECURE),
        )

    def test_many_are_summed_up(self):
        state = states.recorded(SECURE)
        many = tuple(
            eventlog.Component(
                'module', f'sha256:{index:064x}', 'x', '', '', 9
            )
            for index in range(1000)
        )
        found = self.found(
            self.RULE,
            dataclasses.replace(
                state,
                boot=dataclasses.replace(
                    state.boot, components=state.boot.components + many
                ),
            ),
            states.learned(SECURE),
        )
        self.assertEqual(9, len(found))
        self.assertIn('992 more', found[-1].message)

    def test_version_1_has_no_components(self):
        old = dataclasses.replace(
            states.learned(SECURE),
            boot=None,
            measured={},
            firmware_version=None,
        )
        self.assertIn(
            'version 1',
            self.fails('NO_REFERENCE', self.RULE, SECURE, old).message,
        )


class CommandLineTest(RuleTestCase):
    PATTERNS = [
        'BOOT_IMAGE=*',
        'root=UUID=*',
        'ro',
        'quiet',
        'console=*',
        'panic=*',
        'ima_policy=tcb',
    ]
    RULE = {'command-line': {'references': True}}

    def rule(self, *patterns, **params):
        return {
            'command-line': {
                'patterns': list(patterns or self.PATTERNS),
                **params,
            }
        }

    def changed(self, *lines, name=SECURE, commands=()):
        state = states.recorded(name)
        return dataclasses.replace(
            state,
            boot=dataclasses.replace(
                state.boot, command_lines=lines, commands=commands
            ),
        )

    def line(self, text, source='grub', verified=True, pcr=8):
        return eventlog.CommandLine(text, source, verified, pcr)

    def test_good(self):
        self.holds(self.rule(), DEBIAN)
        self.holds(
            self.rule('root=LABEL=x', 'ro', 'console=ttyS0', 'panic=-1'),
            'uefi/uki-secure',
        )
        for pcr in (8, 9, 12):
            self.rests_on(pcr, self.rule())
        self.needs_a_log(self.rule())

    def test_unknown_argument(self):
        found = self.fails(
            'COMMAND_LINE', self.rule(), 'host/debian-12-option'
        )
        self.assertIn('module.sig_enforce=0', found.message)
        self.assertEqual('module.sig_enforce=0', found.details['got'])

    def test_forbidden(self):
        found = self.fails(
            'COMMAND_LINE',
            self.rule('*', forbidden=['init=*']),
            'host/debian-12-option',
        )
        self.assertEqual(
            'The kernel argument init=/bin/sh is forbidden', found.message
        )

    def test_required(self):
        rule = self.rule(required=['ima_policy=*'])
        self.holds(rule, DEBIAN)
        found = self.fails('COMMAND_LINE', rule, 'uefi/shim-grub')
        self.assertIn(
            'lacks the required argument ima_policy=*', found.message
        )
        self.assertEqual('ima_policy=*', found.details['want'])

    def test_references(self):
        self.holds(self.RULE, DEBIAN, states.learned(DEBIAN))
        self.fails(
            'COMMAND_LINE',
            self.RULE,
            'host/debian-12-option',
            states.learned(DEBIAN),
        )
        self.fails('NO_REFERENCE', self.RULE, DEBIAN)
        self.holds(
            self.rule('nothing', references=True, required=['nothing']),
            DEBIAN,
            states.learned(DEBIAN),
        )

    def test_forbidden_even_if_learned(self):
        self.fails(
            'COMMAND_LINE',
            {'command-line': {'references': True, 'forbidden': ['quiet']}},
            DEBIAN,
            states.learned(DEBIAN),
        )

    def test_text_that_is_not_in_the_log(self):
        """The EFI stub measures a text that the log does not have."""
        self.fails('COMMAND_LINE', self.rule('*'), 'uefi/efi-stub')
        self.fails(
            'COMMAND_LINE', self.RULE, 'uefi/efi-stub', states.learned(DEBIAN)
        )
        self.holds(self.RULE, 'uefi/efi-stub', states.learned('uefi/efi-stub'))

    def test_none_at_all(self):
        self.fails('COMMAND_LINE', self.rule(), self.changed())
        state = self.changed()
        silent = dataclasses.replace(state.log, measured={})
        self.fails(
            'COMMAND_LINE',
            self.RULE,
            dataclasses.replace(state, log=silent),
            states.learned(SECURE),
        )

    def test_unverified(self):
        good = self.line('/vmlinuz ro')
        for bad in (
            self.line('/vmlinuz ro', verified=False),
            self.line('ro', 'stub', False, 12),
            self.line('', 'kernel', False, 9),
        ):
            for lines in ((good, bad), (bad, good)):
                self.fails(
                    'EVENT_UNVERIFIED', self.rule(), self.changed(*lines)
                )
            self.fails('COMMAND_LINE', self.rule(), self.changed(bad))

    def test_every_line_counts(self):
        good, bad = self.line('/vmlinuz ro'), self.line('/vmlinuz rw')
        self.holds(self.rule(), self.changed(good))
        for lines in ((good, bad), (bad, good)):
            self.fails('COMMAND_LINE', self.rule(), self.changed(*lines))

    def test_relabelled_in_the_log(self):
        """GRUB's prefix says command, the text says command line."""
        log = sim.recorded_log('secure-boot').replace(
            b'kernel_cmdline: /vmlinuz', b'grub_cmd: /vmlinuz' + bytes(6)
        )
        self.assertNotEqual(log, sim.recorded_log('secure-boot'))
        state = states.of(log, sim.recorded_pcrs('secure-boot'))
        found = self.found(self.rule(), state)
        self.assertTrue(found)

    def test_too_many(self):
        words = ' '.join(map(str, range(4000)))
        self.fails(
            'COMMAND_LINE',
            self.rule('*'),
            self.changed(
                *(
                    self.line(f'/vmlinuz {number} {words}')
                    for number in range(5)
                )
            ),
        )

    def test_what_linux_reads_counts(self):
        """Required arguments that Linux does not see are not there."""
        rule = self.rule('*', required=['ima_policy=tcb*'])
        for text in (
            'ima_policy=tcb',
            'a ima_policy="tcb" b',
            '"ima_policy=tcb"',
            'a="b c" ima_policy=tcb',
        ):
            self.holds(rule, self.changed(self.line(f'/vmlinuz {text}')))
        for text in (
            'i"m"a_policy=tcb',
            'x=\u00e9ima_policy=tcb',
            'ima_policy=tcb\u00e9',
            'ima_policy=tcb\\xff',
            'x="a ima_policy=tcb b"',
            '-- ima_policy=tcb',
            'x=\\x07ima_policy=tcb',
            'ima_policy=tcb"',
            'x=' + 'y' * 2048 + ' ima_policy=tcb',
        ):
            self.fails(
                'COMMAND_LINE',
                rule,
                self.changed(self.line(f'/vmlinuz {text}')),
            )

    def test_whatever_anybody_reads_counts(self):
        rule = self.rule('x=*', forbidden=['init=*'])
        for text in (
            'x="a init=/e b"',
            '"x=a init=/e b"',
            'x=a\\x0binit=/e',
            'x=a\\xa0init=/e',
            'x=a\\rinit=/e',
            'x=a\u3000init=/e',
        ):
            found = self.found(
                rule, self.changed(self.line(f'/vmlinuz {text}'))
            )
            self.assertEqual(
                'The kernel argument init=/e is forbidden',
                found[0].message,
                msg=text,
            )
        self.fails(
            'COMMAND_LINE',
            rule,
            self.changed(self.line('"/a init=/e vmlinuz" x=a')),
        )

    def test_lines_where_references_have_none(self):
        """Extended by root, who hides what the EFI stub measured."""
        forged = self.line('root=UUID=1 ro', 'stub', True, 12)
        state = self.changed(forged, name='uefi/efi-stub')
        self.holds(self.rule(), state)
        found = self.fails(
            'COMMAND_LINE',
            self.rule(references=True),
            state,
            states.learned('uefi/efi-stub'),
        )
        self.assertIn('into PCR 12', found.message)
        self.holds(
            self.rule(references=True),
            state,
            dataclasses.replace(states.learned('uefi/efi-stub'), boot=None),
        )

    def test_what_commands_start(self):
        """A line that looks like a command was given by one."""
        good = self.line('/vmlinuz ro')
        for text in (
            'linux /vmlinuz ro',
            'linux (hd0)/vmlinuz ro',
            'chainloader /vmlinuz ro',
            'search --set=root',
            'menuentry "linux /vmlinuz rw"',
        ):
            self.holds(
                self.rule(), self.changed(good, commands=(self.line(text),))
            )
        for text in (
            'linux vmlinuz init=/evil',
            'linux16 /vmlinuz rw',
            'chainloader /vmlinuz init=/evil',
            '"/my vmlinuz" init=/evil',
        ):
            self.fails(
                'COMMAND_LINE',
                self.rule(),
                self.changed(good, commands=(self.line(text),)),
            )


class ArgumentsTest(unittest.TestCase):
    def test_words(self):
        for text, words in (
            ('', ()),
            ('  ro   quiet ', ('ro', 'quiet')),
            ('a\tb\nc', ('a', 'b', 'c')),
            (
                'dyndbg="file a +p" ro',
                ('dyndbg=file a +p', 'ro', 'dyndbg=file', 'a', '+p'),
            ),
            ('"init=/bin/sh" ro', ('init=/bin/sh', 'ro')),
            ('init="/bin/sh"', ('init=/bin/sh',)),
            ('in"it=/bin/s"h', ('init=/bin/sh',)),
            ('a "b c', ('a', 'b c', 'b', 'c')),
            ('x\u00a0init=/bin/sh', ('x', 'init=/bin/sh')),
            ('\u00e0init=/bin/sh', ('init=/bin/sh',)),
            ('a\x00b', ('a', 'b')),
            ('a\\x0bb', ('a', 'b')),
        ):
            self.assertEqual(
                words, arguments.split(text).words, msg=repr(text)
            )
        # The text of systemd-stub is never escaped.
        self.assertEqual(
            ('initrd=\\root',), arguments.split('initrd=\\root', 'stub').words
        )

    def test_the_image_is_no_argument(self):
        for text in ('/vmlinuz ro', '(hd0,gpt2)/vmlinuz ro'):
            self.assertEqual(('ro',), arguments.split(text, 'grub').words)
            self.assertEqual(2, len(arguments.split(text, 'stub').words))
        self.assertEqual(
            ('init=/x',), arguments.split('init=/x', 'grub').words
        )

    def matching(self, text, *patterns):
        return list(arguments.matching(arguments.split(text).words, patterns))

    def test_matching(self):
        self.assertEqual(
            ['root=UUID=1', 'ro'],
            self.matching('root=UUID=1 ro rw', 'root=UUID=*', 'ro'),
        )
        self.assertEqual([], self.matching('ro'))
        self.assertEqual([], self.matching('root=UUID=1', 'root=uuid=*'))

    def test_spellings_of_a_name(self):
        for text in ('systemd.debug-shell', 'systemd.debug_shell=1'):
            for pattern in ('systemd.debug-shell*', 'systemd.debug_shell*'):
                self.assertEqual([text], self.matching(text, pattern))
        # In a value they differ.
        self.assertEqual([], self.matching('root=a-b', 'root=a_b'))

    def test_hostile_text_takes_no_time(self):
        text = 'a' * 60000 + ' ' + '"x' * 30000 + ' é"' * 10000
        self.assertEqual([], self.matching(text, 'a*a*a*a*b', '*x*y'))


class TpmTest(RuleTestCase):
    def rule(self, **params):
        return {'tpm': params}

    def test_firmware(self):
        for version in (0x20191023, '0x20191023', '0x0020191023'):
            self.holds(self.rule(**{'firmware-versions': [version]}), SECURE)
        found = self.fails(
            'TPM_FIRMWARE', self.rule(**{'firmware-versions': [1, 2]}), SECURE
        )
        self.assertEqual(
            ('0x1 0x2', '0x20191023'),
            (found.details['want'], found.details['got']),
        )

    def test_references(self):
        rule = self.rule(references=True)
        self.holds(rule, SECURE, states.learned(SECURE))
        self.fails('NO_REFERENCE', rule, SECURE)
        self.fails(
            'NO_REFERENCE',
            rule,
            SECURE,
            dataclasses.replace(states.learned(SECURE), firmware_version=None),
        )
        self.fails(
            'TPM_FIRMWARE',
            rule,
            SECURE,
            dataclasses.replace(states.learned(SECURE), firmware_version=1),
        )

    def test_clock(self):
        rule = self.rule(**{'clock-safe': True})
        self.holds(rule, SECURE)
        self.fails(
            'TPM_CLOCK_UNSAFE',
            rule,
            dataclasses.replace(
                states.recorded(SECURE), clock=Clock(1, 1, 1, False)
            ),
        )


class BoundTest(unittest.TestCase):
    def test_exact_wants_one_reference(self):
        one, two = states.learned(SECURE), states.learned(INSECURE)
        mixed = dataclasses.replace(two, pcrs={**two.pcrs, 4: one.pcrs[4]})
        state = states.recorded(SECURE)
        self.assertEqual((), policy.EXACT.bind([two, one]).check(state))
        found = policy.EXACT.bind(
            [
                mixed,
                dataclasses.replace(one, pcrs={**one.pcrs, 4: two.pcrs[4]}),
            ]
        ).check(state)
        self.assertEqual(['4'], [item.details['pcr'] for item in found])

    def test_files_of_all_references_that_a_host_matches(self):
        one = states.learned(DEBIAN)
        first, *rest = sorted(one.ima_digests)
        parts = [
            dataclasses.replace(one, ima_digests=frozenset([first])),
            dataclasses.replace(one, ima_digests=frozenset(rest)),
        ]
        state = states.recorded(DEBIAN)
        whole, both, half = (
            policy.EXACT.bind(references).judge(state).ima_rules.fingerprint
            for references in ([one], parts, parts[:1])
        )
        self.assertEqual(whole, both)
        self.assertNotEqual(whole, half)

    def test_compiled_once(self):
        bound = policy.EXACT.bind([states.learned(DEBIAN)])
        state = states.recorded(DEBIAN)
        self.assertIs(
            bound.judge(state).ima_rules, bound.judge(state).ima_rules
        )
