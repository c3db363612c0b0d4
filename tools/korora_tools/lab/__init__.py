# SPDX-License-Identifier: Apache-2.0
"""The lab: an OpenStack cloud in network namespaces of one machine.

Read in this order: ``cli`` (commands), ``cloud`` (what ``up`` and ``down``
do, in order), then one module per concern. Everything but ``bootstrap``,
``client`` and ``onboard`` needs only the standard library.
"""
