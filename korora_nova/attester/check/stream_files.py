# SPDX-License-Identifier: Apache-2.0
"""Whether QEMU finds the certificate that the agent has for streams."""

from __future__ import annotations

import re
from collections.abc import Iterator

from korora_nova.checks import (
    Problem,
    Result,
    bad,
    result,
    warn,
)

_SETTING = re.compile(r'^\s*(\w+)\s*=\s*"?([^"\n]*?)"?\s*$', re.M)


def streams(
    link: str | None, name: str, qemu_conf: str | None, native_tls: bool
) -> Result:
    """Whether protected servers can be streamed to the attested host.

    :param link: ``[attester] migration_tls_dir``.
    :param name: in the certificate that QEMU finds there; '' if none counts.
    :param qemu_conf: text of libvirt's; None: it cannot be read.
    :param native_tls: of plain servers.
    """
    if link is None:
        problem = warn(
            '[attester] migration_tls_dir is not set: with [verifier] '
            'migration_tls = attested no protected server is streamed from '
            'or to this host',
            'set it, and migrate_tls_x509_cert_dir in qemu.conf, to '
            '/etc/pki/qemu/korora',
        )
        return result('streams', '', [problem])
    return result(
        'streams', name, _problems(link, name, qemu_conf, native_tls)
    )


def _problems(
    link: str, name: str, qemu_conf: str | None, native_tls: bool
) -> Iterator[Problem]:
    if not name:
        yield warn(
            f'{link} has no certificate that counts',
            'the agent gets one as soon as this host is trusted; else see its '
            'log',
        )
    if qemu_conf is None:
        yield warn('qemu.conf of libvirt cannot be read', 'run this as root')
        return
    found = dict(_SETTING.findall(qemu_conf))
    where = found.get('migrate_tls_x509_cert_dir', 'not set')
    if where != link:
        yield bad(
            f'migrate_tls_x509_cert_dir in qemu.conf is {where}, [attester] '
            f'migration_tls_dir {link}',
            'give both the same value, and restart libvirtd',
        )
    verify = 'migrate_tls_x509_verify', 'default_tls_x509_verify'
    if [found[name] for name in verify if name in found][:1] == ['0']:
        yield bad(
            'QEMU is not to verify who streams to this host',
            'remove migrate_tls_x509_verify from qemu.conf',
        )
    if native_tls:
        yield warn(
            '[libvirt] live_migration_with_native_tls: plain servers find '
            'certificates without name of a host',
            'set it to false, or [verifier] migration_tls to site',
        )
