# SPDX-License-Identifier: Apache-2.0
"""Implementation of tools/bench.

cli          arguments and set-up; the standard library only
environment  the peer's virtual environment
workload     the measurement list and the policies all contenders are given
appraisal    what is measured, in which order, and the report
worker       how a contender is told to run once
fleet        the scheduler with many hosts; fleet_service is what it asks
floor, korora, keylime   the contenders, each a process of its own
"""
