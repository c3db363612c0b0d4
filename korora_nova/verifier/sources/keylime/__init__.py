# SPDX-License-Identifier: Apache-2.0
"""An existing Keylime verifier, and its registrar, as a source.

client     their REST APIs, versions 2.x: bounded in time and in size
identity   which agent is in which TPM
status     what the verifier says of an agent, as a verdict
source     the driver
"""
