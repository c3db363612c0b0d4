# SPDX-License-Identifier: Apache-2.0
"""korora-enforcer: what is done about a host that lost its trust.

``decide`` is pure and says to which hosts something is done, ``drivers`` what.
The process is unlike ``attester.enforcer``, which is whether a host's
nova-compute runs the driver, and unlike ``api.rules.Enforcer``.
"""
