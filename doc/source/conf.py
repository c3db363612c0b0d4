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
