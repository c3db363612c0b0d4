# SPDX-License-Identifier: Apache-2.0
"""The service's state in SQL: models, transactions, migrations."""
