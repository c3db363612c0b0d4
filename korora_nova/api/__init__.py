# SPDX-License-Identifier: Apache-2.0
"""The attestation service's HTTP API; ``handler.ROUTES`` shows all of it."""
