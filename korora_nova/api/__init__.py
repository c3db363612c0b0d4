# SPDX-License-Identifier: Apache-2.0
"""The attestation service's HTTP API; ``routes.ROUTES`` shows all of it."""
