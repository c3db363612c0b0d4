# SPDX-License-Identifier: Apache-2.0
"""What tells that the service's database went back in time.

An anchor is outside of the database and of its backups. It maps a server to
the version and digest of its newest document, and only rises. A driver is an
entry point in the namespace ``korora.anchor``.
"""
