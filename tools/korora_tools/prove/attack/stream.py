# SPDX-License-Identifier: Apache-2.0
"""Attacks on the stream of guest memory and disks."""

from __future__ import annotations

from korora_tools.prove.attack.row import Attack

ATTACKS: tuple[Attack, ...] = ()

#: Without a test and a defence in this tree so far: id, and what it is.
TO_COME = {
    'T50': 'another certificate of the same CA, a stolen old one, downgrade',
    'S1': 'the stream of memory and disks is read on the wire',
    'S2': 'a machine in the middle, with a certificate of another host',
    'S3': 'the right name, with an old certificate that was stolen',
    'S4': 'the destination is exchanged after the permit',
    'S5': "one end's nova.conf turns the encryption off",
    'S6': 'the certificate of a host that has lost its trust',
}
