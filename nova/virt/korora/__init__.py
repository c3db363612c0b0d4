# SPDX-License-Identifier: Apache-2.0
"""Lets ``compute_driver = korora.KororaLibvirtDriver`` load the driver."""

from korora_nova.relying_party.driver import KororaLibvirtDriver

__all__ = ['KororaLibvirtDriver']
