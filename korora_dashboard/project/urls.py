# SPDX-License-Identifier: Apache-2.0
"""Horizon wraps these views in the access checks of this dashboard."""

from korora_dashboard import pages

urlpatterns = pages.patterns()
