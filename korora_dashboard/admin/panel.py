# SPDX-License-Identifier: Apache-2.0
"""Admin > Compute > Attestation."""

from openstack_dashboard.dashboards.admin import dashboard

from korora_dashboard.panel import AttestationPanel


class Attestation(AttestationPanel):
    """For whoever sees Admin; the service decides the rest."""


dashboard.Admin.register(Attestation)
