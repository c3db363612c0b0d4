# SPDX-License-Identifier: Apache-2.0
"""Project > Compute > Attestation."""

from openstack_dashboard.dashboards.project import dashboard

from korora_dashboard.panel import AttestationPanel


class Attestation(AttestationPanel):
    """For those who may read hosts; every member of a project sees Project."""

    policy_rules = (('attestation', 'attestation:hosts:list'),)


dashboard.Project.register(Attestation)
