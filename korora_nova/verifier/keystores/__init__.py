# SPDX-License-Identifier: Apache-2.0
"""The key stores that come with Kororā: files, and a PKCS#11 token."""
