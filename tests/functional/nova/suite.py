# SPDX-License-Identifier: Apache-2.0
"""Nova's own unit tests of its libvirt driver, run against ours.

::

    python -m tests.functional.nova.suite [--stock] [--all | PART ...]
    python -m tests.functional.nova.suite [--stock] --functional [PART ...]

With an agent that knows no protected server, our driver must do what the
stock one does: the same tests, on our class. In a process of its own,
because it replaces the class where Nova's tests look for it.
"""

from __future__ import annotations

import json
import sys
import unittest

from nova import exception
from nova.virt.libvirt import driver as libvirt_driver

import tests.functional.nova  # noqa: F401 decides Nova's concurrency
from korora_nova import conf, errors
from korora_nova.attester import socket_client
from korora_nova.relying_party import (
    arrival,
    driver,
    facts,
    gate,
    requirement,
)
from tests.functional.nova import base as nova_base

#: What the driver overrides, and what calls it; the rest is inherited code.
RELEVANT = (
    'migrat',
    'spawn',
    'reboot',
    'resume',
    'power_on',
    'rescue',
    'destroy',
    'cleanup',
    'snapshot',
    'create_guest',
    'secret',
    'tpm',
    'init_host',
    'rebuild',
    'resize',
    'startup',
)


#: What cannot hold, and why that is right.
KNOWN = frozenset(
    'nova.tests.unit.virt.libvirt.test_driver.' + name
    for name in (
        # A dictionary, or a sentinel, is the instance.
        'LibvirtConnTestCase.test_live_migration_hostname_invalid',
        'LibvirtConnTestCase.test_live_migration_hostname_valid',
        'LibvirtConnTestCase.test_post_live_migration',
        'LibvirtConnTestCase.test_post_live_migration_exception_swallowed',
        # The image's properties are read once more.
        'LibvirtDriverTestCase.'
        'test_rescue_stable_device_bfv_without_instance_image_ref',
        # Arguments are passed on as they come, for Nova 33 and 34 alike.
        'LibvirtConnTestCase.test_public_api_signatures',
    )
)


class QuietAgent(socket_client.AgentClient):
    """Trusts this host and knows of no protected server."""

    def call(self, op, **fields):
        if op in ('attest', 'verdict'):
            return {'tier': 'affirming', 'reasons': [], 'expires': 2.0e9}
        return {
            'state': 'none',
            'epoch': 0,
            'migration': '',
            'ledger': None,
            'ledger_known': True,
        }


def install() -> None:
    """Put our class where Nova's tests look for theirs.

    Plain assignments: Nova's tests end with ``mock.patch.stopall``.
    """
    stock = requirement.requirement
    # Host mode without custody: stock behaviour is what is compared.
    requirement.requirement = lambda specs, props, protect: stock(
        specs, props, False
    )
    read = facts.of_instance

    def tolerant(instance, *args, **kwargs):
        try:
            return read(instance, *args, **kwargs)
        except (AttributeError, exception.OrphanedObjectError, errors.Invalid):
            # Half an instance, as only unit tests have it.
            return gate.Server('?', requirement.Requirement())

    facts.of_instance = tolerant
    driver.KororaLibvirtDriver._make_agent = lambda self, timeout: QuietAgent(
        '/nowhere', timeout
    )
    # No threads beside tests that have no database.
    arrival.Arrival.start = lambda self: None
    ours, theirs = driver.KororaLibvirtDriver, libvirt_driver.LibvirtDriver
    for name, value in vars(theirs).items():
        # Fixtures patch static methods where they are defined only.
        if isinstance(value, staticmethod):
            setattr(ours, name, value)
    libvirt_driver.LibvirtDriver = ours


def flatten(suite: unittest.TestSuite) -> list[unittest.TestCase]:
    """All cases of a suite, at whatever depth."""
    found: list[unittest.TestCase] = []
    for item in suite:
        found += (
            flatten(item) if isinstance(item, unittest.TestSuite) else [item]
        )
    return found


class Restoring(unittest.TestSuite):
    """Runs cases; each finds the class under test as it was.

    Fixtures restore what they patched by setting it, on the subclass too.
    """

    def run(self, result, debug=False):
        cls = libvirt_driver.LibvirtDriver
        before = dict(vars(cls))
        for case in self:
            case(result)
            for name, value in dict(vars(cls)).items():
                if name not in before:
                    delattr(cls, name)
                elif value is not before[name]:
                    setattr(cls, name, before[name])
        return result


def functional_cases() -> list[unittest.TestCase]:
    """Nova's functional tests of vTPMs and live migration (minutes)."""
    import nova.virt.libvirt
    from nova.tests.fixtures import conf as nova_conf
    from nova.tests.functional.libvirt import test_live_migration, test_vtpm

    nova.virt.libvirt.LibvirtDriver = libvirt_driver.LibvirtDriver
    for option in conf.KORORA_OPTS:
        if option.name == 'protect_vtpm':
            option.default = False
    stock = nova_conf.ConfFixture.setUp

    def installed(fixture):
        stock(fixture)
        fixture.conf.set_default(
            'api_paste_config', nova_base.PASTE, group='wsgi'
        )

    nova_conf.ConfFixture.setUp = installed
    return [
        case
        for module in (test_vtpm, test_live_migration)
        for case in flatten(
            unittest.defaultTestLoader.loadTestsFromModule(module)
        )
    ]


def main(words: list[str]) -> int:
    """Run and print a JSON summary as the last line."""
    if words[:1] == ['--stock']:
        words = words[1:]
    else:
        install()
    if words[:1] == ['--functional']:
        cases, chosen = functional_cases(), tuple(words[1:]) or ('test',)
    else:
        from nova.tests.unit.virt.libvirt import test_driver as module

        cases = flatten(unittest.defaultTestLoader.loadTestsFromModule(module))
        chosen = tuple(words) or RELEVANT
    if words != ['--all']:
        cases = [
            case
            for case in cases
            if any(word in case.id().lower() for word in chosen)
        ]
    result = unittest.TextTestRunner(verbosity=0, buffer=True).run(
        Restoring(cases)
    )
    bad = sorted(
        {case.id() for case, _ in result.failures + result.errors} - KNOWN
    )
    print(
        json.dumps(
            {
                'class': libvirt_driver.LibvirtDriver.__name__,
                'ran': result.testsRun,
                'bad': bad,
                'skipped': len(result.skipped),
            }
        )
    )
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
