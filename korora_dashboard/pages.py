# SPDX-License-Identifier: Apache-2.0
"""The pages, at a glance: paths, and the views behind them."""

from __future__ import annotations

from django.urls import URLPattern, path

from korora_dashboard.views import forms, hosts, migrations, policies, servers


def patterns() -> list[URLPattern]:
    """New ones for each dashboard, which changes them in place."""
    return [
        path('', hosts.Hosts.as_view(), name='index'),
        path('hosts/<str:host>/', hosts.Host.as_view(), name='host'),
        path(
            'hosts/<str:host>/approve/',
            forms.ApproveHost.as_view(),
            name='approve',
        ),
        path(
            'migrations/', migrations.Migrations.as_view(), name='migrations'
        ),
        path(
            'migrations/<uuid:migration>/',
            migrations.Migration.as_view(),
            name='migration',
        ),
        path('servers/', servers.Servers.as_view(), name='servers'),
        path(
            'servers/<uuid:server>/',
            servers.Server.as_view(),
            name='server',
        ),
        path('policies/', policies.Policies.as_view(), name='policies'),
        path(
            'policies/<str:policy>/check/',
            policies.DryRun.as_view(),
            name='dry_run',
        ),
        path('policies/try/', forms.TryPolicy.as_view(), name='try_policy'),
        path(
            'references/create/',
            forms.CreateReference.as_view(),
            name='create_reference',
        ),
    ]
