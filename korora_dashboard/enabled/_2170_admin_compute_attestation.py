# SPDX-License-Identifier: Apache-2.0
"""Admin > Compute > Attestation."""

PANEL = 'attestation'
PANEL_DASHBOARD = 'admin'
PANEL_GROUP = 'compute'
ADD_PANEL = 'korora_dashboard.admin.panel.Attestation'
ADD_INSTALLED_APPS = ['korora_dashboard']
