# SPDX-License-Identifier: Apache-2.0
"""What Tempest asks the plugin for."""

from __future__ import annotations

import pathlib
from typing import Any

from tempest import config
from tempest.test_discover import plugins

from korora_tempest_plugin import config as options


class KororaTempestPlugin(plugins.TempestPlugin):
    """Tests of the attestation service and of protected servers."""

    def load_tests(self) -> tuple[str, str]:
        package = pathlib.Path(__file__).resolve().parent
        return str(package / 'tests'), str(package.parent)

    def register_opts(self, conf: Any) -> None:
        conf.register_opt(options.SERVICE_AVAILABLE, group='service_available')
        conf.register_group(options.GROUP)
        conf.register_opts(options.OPTIONS, group=options.GROUP)

    def get_opt_lists(self) -> list[tuple[str, list[Any]]]:
        return [
            ('service_available', [options.SERVICE_AVAILABLE]),
            (options.GROUP.name, options.OPTIONS),
        ]

    def get_service_clients(self) -> list[dict[str, Any]]:
        return [
            {
                'name': 'attestation',
                'service_version': 'attestation.v1',
                'module_path': 'korora_tempest_plugin.services.attestation',
                'client_names': ['AttestationClient'],
                **config.service_client_config(options.GROUP.name),
            }
        ]
