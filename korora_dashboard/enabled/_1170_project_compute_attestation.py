# SPDX-License-Identifier: Apache-2.0
"""Project > Compute > Attestation, for readers who see no Admin."""

PANEL = 'attestation'
PANEL_DASHBOARD = 'project'
PANEL_GROUP = 'compute'
ADD_PANEL = 'korora_dashboard.project.panel.Attestation'
ADD_INSTALLED_APPS = ['korora_dashboard']
