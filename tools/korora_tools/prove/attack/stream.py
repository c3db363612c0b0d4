# SPDX-License-Identifier: Apache-2.0
"""Attacks on the stream of guest memory and disks."""

from __future__ import annotations

from korora_tools.prove.attack.row import AGENT, NOVA, UNIT, Attack, row

_QEMU = AGENT + 'test_streams.TestStreams.'
_DOMAIN = UNIT + 'relying_party.test_small.TestStream.'
_CERTIFICATES = UNIT + 'verifier.test_certificates.'

ATTACKS: tuple[Attack, ...] = (
    row(
        'T50',
        'the destination names a certificate that is not its own',
        _CERTIFICATES + 'TestPermit.test_as_it_was_signed',
        'verifier/certificates.py:name_for',
        "return row.tls_name or '' if row is not None else ''",
        'return said',
        _CERTIFICATES + 'TestPermit.'
        'test_transition_does_not_take_a_name_of_ours',
        _QEMU + 'test_source_of_another_authority',
        _QEMU + 'test_destination_of_another_authority',
    ),
    row(
        'S1',
        'the stream of memory and disks is read on the wire',
        _DOMAIN + 'test_tls_names_the_destination',
        'relying_party/stream.py:StreamDomain.migrateToURI3',
        'flags |= self._libvirt.VIR_MIGRATE_TLS',
        'pass',
        _QEMU + 'test_nothing_on_the_wire',
    ),
    row(
        'S2',
        'somebody in the middle has a certificate of another host',
        _QEMU + 'test_another_host_of_the_same_authority',
        'rats/x509/stream.py:name_of',
        'hashlib.sha256(spki(public)).digest()',
        "hashlib.sha256(b'').digest()",
        _QEMU + 'test_hosts_names_are_no_names',
    ),
    row(
        'S3',
        'the right name, with an old certificate that was stolen',
        _QEMU + 'test_stolen_files',
        'rats/x509/stream.py:issue',
        '.not_valid_after(_time(at + life))',
        '.not_valid_after(_time(at + 100 * life))',
        _QEMU + 'test_old_certificate',
    ),
    row(
        'S4',
        'the destination is exchanged after the permit',
        _DOMAIN + 'test_memory_goes_where_the_permit_says',
        'relying_party/stream.py:StreamDomain.migrateToURI3',
        "params['migrate_uri'] = self._uri",
        'pass',
        NOVA + 'test_live_migration.TestBus.test_redirected_stream',
    ),
    row(
        'S5',
        "one end's nova.conf turns the encryption off",
        UNIT + 'relying_party.test_streams.TestAllowed.'
        'test_tls_whatever_nova_conf_says',
        'relying_party/outgoing.py:Outgoing._admit',
        'answer.tls_name or (dest if tls else None)',
        'dest if tls else None',
        _CERTIFICATES + 'TestPermit.test_the_mode_is_raised_meanwhile',
        _CERTIFICATES + 'TestPermit.test_an_end_without',
    ),
    row(
        'S6',
        'a host that has lost its trust has itself certified',
        _CERTIFICATES + 'TestIssue.test_untrusted',
        'verifier/certificates.py:renew',
        'or attested.tier != Tier.AFFIRMING',
        '',
        _CERTIFICATES + 'TestPermit.test_authority_revoked',
    ),
)
