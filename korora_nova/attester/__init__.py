# SPDX-License-Identifier: Apache-2.0
"""korora-agent: owner of a host's TPM, vault and host-to-host traffic."""
