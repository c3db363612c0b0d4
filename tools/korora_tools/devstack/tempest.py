# SPDX-License-Identifier: Apache-2.0
"""Tempest on a stacked cloud: our plugin's tests, and upstream's."""

from __future__ import annotations

import re
from typing import Any

from korora_tools import ui
from korora_tools.devstack import paths
from korora_tools.devstack.cloud import Cloud

HOME = f'{paths.STACK_HOME}/tempest'
BIN = f'{HOME}/.tox/tempest/bin'
TIMEOUT = 5400

OURS = r'^korora_tempest_plugin\.'
UPSTREAM = '|'.join(
    (
        r'^tempest\.api\.compute\.servers\.test_server_actions\.',
        r'^tempest\.api\.compute\.servers\.test_create_server\.',
        r'^tempest\.api\.compute\.servers\.test_servers\.',
        r'^tempest\.api\.compute\.servers\.test_server_metadata\.',
        r'^tempest\.api\.compute\.admin\.test_servers\.',
        r'^tempest\.api\.compute\.admin\.test_hypervisor\.',
        r'^tempest\.api\.compute\.admin\.test_flavors_extra_specs\.',
        r'^tempest\.api\.compute\.admin\.test_live_migration\.',
        r'^whitebox_tempest_plugin\.api\.compute\.test_vtpm\.',
    )
)

# Upstream's tests that are left out: what they are called, and why.
EXCLUDED = {
    r'test_vtpm\.VTPMTest\.test_vtpm_live_migration_secret_security_host': (
        "asserts that the vTPM's passphrase can be read from libvirt, which "
        'is what Kororā ends'
    ),
    'test_vtpm_live_migration_opt_in_via_resize_host': (
        'resizes a server to a protected flavor, which is refused '
        '(COLD_VTPM_CHANGED)'
    ),
    'test_vtpm_creation_after_virtqemud_restart': (
        'restarts virtqemud; DevStack on Debian runs libvirtd'
    ),
}

NODES_YAML = f'{paths.STACK_HOME}/nodes.yaml'
# What whitebox-tempest-plugin has to know: section, option, value.
WHITEBOX = (
    ('whitebox', 'nodes_yaml', NODES_YAML),
    ('whitebox', 'ctlplane_ssh_username', 'stack'),
    (
        'whitebox',
        'ctlplane_ssh_private_key_path',
        f'{paths.STACK_HOME}/.ssh/id_ed25519',
    ),
    ('whitebox', 'max_compute_nodes', '2'),
    ('compute', 'min_compute_nodes', '2'),
    ('compute-feature-enabled', 'vtpm_device_supported', 'True'),
    # Tempest's own.
    ('compute-feature-enabled', 'vtpm_live_migration', 'True'),
)

# The summary of "stestr last".
NUMBERS = {
    'passed': re.compile(r'^ - Passed: (\d+)', re.M),
    'failed': re.compile(r'^ - Failed: (\d+)', re.M),
    'skipped': re.compile(r'^ - Skipped: (\d+)', re.M),
}
# "tempest run" prints one line per test.
TEST = r'^\{\d+\} (\S+(?: \(\S+\))?).* \.\.\. '
SKIP = re.compile(TEST + r'SKIPPED: (.*)$', re.M)
FAIL = re.compile(TEST + r'FAILED$', re.M)


def two_nodes(cloud: Cloud) -> None:
    """Tell Tempest of a subnode, which DevStack leaves to its user."""
    names = (paths.CONTROLLER, paths.SUBNODES[0])
    for option in WHITEBOX:
        cloud.tell_tempest(*option)
    cloud.tell_tempest(
        'whitebox',
        'ctlplane_addresses',
        ','.join(f'{name}:{paths.ADDRESSES[name]}' for name in names),
    )
    cloud.controller.put(
        ''.join(
            f'{name}: {{services: {{libvirt: {{}}, nova-compute: {{}}}}}}\n'
            for name in names
        ),
        NODES_YAML,
    )


def run(cloud: Cloud, name: str, regex: str) -> dict[str, Any]:
    """Run the tests that match, but for those in EXCLUDED.

    :returns: passed, failed, skipped, the failed tests' names, and the
        skipped and excluded ones with their reasons.
    """
    log = f'tempest-{name}.log'
    (cloud.work.log / log).unlink(missing_ok=True)
    with ui.step(f'Tempest: {name} ({cloud.work.log}/{log})'):
        cloud.controller.run(
            f'cd {HOME} && {BIN}/tempest run --concurrency 1 '
            f"--regex '{regex}' --exclude-regex '{'|'.join(EXCLUDED)}'",
            log,
            timeout=TIMEOUT,
        )
    return read((cloud.work.log / log).read_text(errors='replace'))


def read(output: str) -> dict[str, Any]:
    """Count what a run printed.

    :raises Problem: it ran nothing.
    """
    counts: dict[str, Any] = {}
    for name, pattern in NUMBERS.items():
        if not (found := pattern.findall(output)):
            tail = '\n  '.join(output.splitlines()[-8:])
            raise ui.Problem(f'Tempest did not finish:\n  {tail}')
        counts[name] = int(found[-1])
    counts['failures'] = FAIL.findall(output)
    counts['skips'] = dict(SKIP.findall(output))
    return counts
