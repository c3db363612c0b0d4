# SPDX-License-Identifier: Apache-2.0
"""What the panel is in either dashboard."""

from django.utils.translation import gettext_lazy as _
from horizon import Panel


class AttestationPanel(Panel):
    """Shown where the catalog has the service."""

    name = _('Attestation')
    slug = 'attestation'
    permissions = ('openstack.services.attestation',)
    urls = 'urls'
