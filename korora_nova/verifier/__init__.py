# SPDX-License-Identifier: Apache-2.0
"""The attestation service's use cases, one module per noun of its API."""
