# SPDX-License-Identifier: Apache-2.0
"""Sphinx settings of the API reference."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'doc' / 'ext'))

project = 'Kororā Attestation API'
copyright = 'Korora developers'
extensions = ['korora_docs', 'openstackdocstheme', 'os_api_ref']
korora_openapi = True
html_theme = 'openstackdocs'
html_theme_options = {'sidebar_mode': 'toc', 'show_other_versions': False}
openstackdocs_auto_name = False
openstackdocs_repo_name = ''
openstackdocs_use_storyboard = False
