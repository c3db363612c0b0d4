# SPDX-License-Identifier: Apache-2.0
"""Sphinx settings of the documentation."""

import pathlib
import sys

DOC = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(DOC / 'ext'), str(DOC.parent / 'tools')]

project = 'Kororā for Nova'
copyright = 'Korora developers'
extensions = [
    'cliff.sphinxext',
    'korora_docs',
    'korora_protocol',
    'openstackdocstheme',
    'oslo_config.sphinxext',
    'oslo_policy.sphinxext',
]
exclude_patterns = ['_generated']
html_theme = 'openstackdocs'
html_theme_options = {'show_other_versions': False}
openstackdocs_auto_name = False
openstackdocs_repo_name = ''
openstackdocs_use_storyboard = False
pygments_style = 'native'
autoprogram_cliff_application = 'openstack'

_AUTHORS = ['Korora developers']
#: Page, name, description, authors, section.
man_pages = [
    (
        'cli/openstack',
        'openstack-attestation',
        'operate attested hosts and the keys of protected servers',
        _AUTHORS,
        1,
    ),
    (
        'cli/agent',
        'korora-agent',
        'attest a compute host and keep the keys of its servers',
        _AUTHORS,
        8,
    ),
    (
        'cli/enforcer',
        'korora-enforcer',
        'respond to compute hosts that lose their trust',
        _AUTHORS,
        8,
    ),
    (
        'cli/manage',
        'korora-manage',
        'manage the database, keys and anchor of the attestation service',
        _AUTHORS,
        8,
    ),
    (
        'cli/sources',
        'korora-sources',
        'ask other verifiers about compute hosts',
        _AUTHORS,
        8,
    ),
    (
        'cli/status',
        'korora-status',
        'check the attestation service before and after an upgrade',
        _AUTHORS,
        8,
    ),
]
