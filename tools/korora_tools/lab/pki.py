# SPDX-License-Identifier: Apache-2.0
"""Certificates with which libvirt's daemons know each other.

They stand for those of a site: the connection between libvirts is not the
stream of a guest, for which agents get certificates of the service.
"""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import subprocess
from collections.abc import Iterator

from korora_tools import ui
from korora_tools.lab import paths

_NEW = (
    'openssl req -x509 -days 3650 -nodes -newkey ec '
    '-pkeyopt ec_paramgen_curve:P-256'
).split()
#: Where libvirt looks, below /etc/pki: what to find there.
_FILES = {
    'CA/cacert.pem': 'ca.pem',
    'libvirt/servercert.pem': 'HOST.pem',
    'libvirt/clientcert.pem': 'HOST.pem',
    'libvirt/private/serverkey.pem': 'HOST-key.pem',
    'libvirt/private/clientkey.pem': 'HOST-key.pem',
}
#: Where QEMU looks, in the directory that libvirt tells it.
_QEMU = {
    'ca-cert.pem': 'ca.pem',
    'server-cert.pem': 'HOST.pem',
    'server-key.pem': 'HOST-key.pem',
    'client-cert.pem': 'HOST.pem',
    'client-key.pem': 'HOST-key.pem',
}


def make(lab: paths.Lab) -> None:
    """An authority, and a certificate of each host, unless they are there.

    :raises Problem: openssl failed.
    """
    directory = _directory(lab)
    directory.mkdir(exist_ok=True)
    if not (directory / 'ca.pem').exists():
        _new(
            directory,
            'ca',
            'basicConstraints=critical,CA:TRUE',
            'keyUsage=critical,keyCertSign',
        )
    for host, address in paths.HOSTS.items():
        if (directory / f'{host}.pem').exists():
            continue
        _new(
            directory,
            host,
            'basicConstraints=critical,CA:FALSE',
            'keyUsage=critical,digitalSignature,keyEncipherment',
            'extendedKeyUsage=serverAuth,clientAuth',
            f'subjectAltName=DNS:{host},IP:{address}',
            signed=True,
        )


def _new(
    directory: pathlib.Path,
    name: str,
    *extensions: str,
    signed: bool = False,
) -> None:
    made = directory / f'{name}.new'
    argv = [
        *_NEW,
        *('-subj', f'/CN={name}', '-out', str(made)),
        *('-keyout', str(directory / f'{name}-key.pem')),
        *(word for one in extensions for word in ('-addext', one)),
    ]
    if signed:
        key = directory / 'ca-key.pem'
        argv += ['-CA', str(directory / 'ca.pem'), '-CAkey', str(key)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ui.Problem(f'openssl: {done.stderr.strip()}')
    made.rename(directory / f'{name}.pem')


def _directory(lab: paths.Lab) -> pathlib.Path:
    return lab.cache / 'pki'


def prepare(lab: paths.Lab, host: str) -> None:
    """Write what libvirt and QEMU of a host find below its /etc/pki."""
    pki = lab.host(host) / 'etc/pki'
    _install(lab, host, _FILES, pki)
    # libvirtd starts before the agent, and not without this directory.
    link = pki / 'qemu/korora'
    if not link.is_symlink():
        first = link.with_name('korora.00000000')
        first.mkdir(parents=True, exist_ok=True)
        link.symlink_to(first.name)


@contextlib.contextmanager
def for_streams(lab: paths.Lab, host: str) -> Iterator[None]:
    """QEMU finds these meanwhile, as where there is no Kororā."""
    link = lab.host(host) / 'etc/pki/qemu/korora'
    before = link.readlink()
    site = link.with_name('site')
    _install(lab, host, _QEMU, site)
    group = link / 'dh-params.pem'
    if group.exists():  # QEMU before 10.2 is slow without
        shutil.copy(group, site)
    _point(link, pathlib.Path(site.name))
    try:
        yield
    finally:
        _point(link, before)
        shutil.rmtree(site)


def _point(link: pathlib.Path, to: pathlib.Path) -> None:
    new = link.with_name('korora.new')
    new.symlink_to(to)
    new.rename(link)


def _install(
    lab: paths.Lab, host: str, files: dict[str, str], directory: pathlib.Path
) -> None:
    for place, name in files.items():
        target = directory / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_directory(lab) / name.replace('HOST', host), target)
        target.chmod(0o600 if 'key.pem' in place else 0o644)


def allowed() -> str:
    """``tls_allowed_dn_list`` of libvirtd."""
    return ', '.join(f'"CN={host}"' for host in paths.HOSTS)
