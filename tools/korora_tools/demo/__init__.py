# SPDX-License-Identifier: Apache-2.0
"""The demo: ``cli`` (options, outcome), ``run`` (all scenarios, in the cloud),
``scenarios`` (each of them), ``stage`` (what they share), ``world`` (what they
may do), ``migration`` (how one ended), ``canary`` (is the passphrase anywhere
in clear?), ``continuity`` (did the guest run on?)."""
