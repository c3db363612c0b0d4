# SPDX-License-Identifier: Apache-2.0
"""What both ends of a hand-over have proved, side by side; pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _

from korora_dashboard import words
from korora_dashboard.proofs import HandOver


@dataclasses.dataclass(frozen=True)
class Row:
    """One property of both ends."""

    name: str
    source: str
    dest: str


@dataclasses.dataclass(frozen=True)
class Boot:
    """TPM2 counters as the permit has them: resetCount, restartCount."""

    resets: int
    restarts: int

    @classmethod
    def of(cls, both: str) -> Boot:
        raw = bytes.fromhex(both)
        return cls(
            int.from_bytes(raw[:4], 'big'), int.from_bytes(raw[4:], 'big')
        )

    def __str__(self) -> str:
        return _('%(resets)d resets, %(restarts)d restarts') % vars(self)


def compare(
    migration: Mapping[str, Any],
    signed: HandOver,
    hosts: Mapping[str, Mapping[str, Any]],
) -> Sequence[Row]:
    """Rows of a table.

    :param hosts: what the service says of both ends now, by name.
    """
    rows = [
        Row(
            _('Host'),
            words.text(migration.get('source')),
            words.text(migration.get('dest')),
        )
    ]
    if signed.permit is not None:
        rows += _proved(signed.permit.content, hosts)
    rows.append(
        Row(
            _('Last word'),
            words.text(migration.get('source_word')),
            words.text(migration.get('dest_word')),
        )
    )
    return rows


def _proved(permit: Any, hosts: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """What the evidence of both ends came to: the permit repeats it."""
    return [
        Row(_('Attestation key (TPM name)'), permit.ak_source, permit.ak_dest),
        Row(
            _('Enrolled with it now'),
            _same(hosts.get(permit.source), permit.ak_source),
            _same(hosts.get(permit.dest), permit.ak_dest),
        ),
        Row(
            _('Digest of the PCRs it proved'),
            permit.source_pcr_digest,
            permit.dest_pcr_digest,
        ),
        Row(
            _('Boot it proved'),
            str(Boot.of(permit.source_reset_restart)),
            str(Boot.of(permit.dest_reset_restart)),
        ),
        Row(_('Key that was made for it'), words.DASH, permit.msk_name),
        Row(_('Epoch of its copy'), str(permit.epoch), str(permit.new_epoch)),
    ]


def _same(host: Mapping[str, Any] | None, ak_name: str) -> str:
    if host is None or not host.get('ak_name'):
        return _('not known')
    if host.get('ak_name') == ak_name:
        return _('yes')
    return _('no: it has another TPM or key')
