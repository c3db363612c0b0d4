# SPDX-License-Identifier: Apache-2.0
"""The test runner: ``cli`` (options, order), ``suites`` (what is run),
``stream`` (how results are counted), ``series`` (of OpenStack)."""
