# SPDX-License-Identifier: Apache-2.0
"""Project > Compute > Attestation, for readers who see no Admin.

Besides the file for Admin, which names the application: Horizon takes each
one once.
"""

PANEL = 'attestation'
PANEL_DASHBOARD = 'project'
PANEL_GROUP = 'compute'
ADD_PANEL = 'korora_dashboard.project.panel.Attestation'
