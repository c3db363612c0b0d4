# SPDX-License-Identifier: Apache-2.0
"""What is done about hosts that lost their trust, as the database has it.

``korora-enforcer`` (:mod:`korora_nova.response`) decides and does it, the API
shows it and takes operators' orders.
"""
