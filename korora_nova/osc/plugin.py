# SPDX-License-Identifier: Apache-2.0
"""Hook of python-openstackclient: makes the client for ``attestation``."""

import argparse
import typing

from keystoneauth1 import adapter
from osc_lib import utils

from korora_nova import client

DEFAULT_API_VERSION = '1'
API_VERSION_OPTION = 'os_attestation_api_version'
API_NAME = 'attestation'
API_VERSIONS = {'1': 'korora_nova.client.AttestationClient'}
SERVICE_TYPE = 'attestation'


def make_client(instance: typing.Any) -> client.AttestationClient:
    """The client over the session of the command line's client manager."""
    return client.AttestationClient(
        adapter.Adapter(
            session=instance.session,
            service_type=SERVICE_TYPE,
            interface=instance.interface,
            region_name=instance.region_name,
        )
    )


def build_option_parser(
    parser: argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    """Add the global options of this plugin."""
    parser.add_argument(
        '--os-attestation-api-version',
        metavar='<attestation-api-version>',
        default=utils.env(
            'OS_ATTESTATION_API_VERSION', default=DEFAULT_API_VERSION
        ),
        help=(
            'Attestation API version, default='
            f'{DEFAULT_API_VERSION} (Env: OS_ATTESTATION_API_VERSION)'
        ),
    )
    return parser
