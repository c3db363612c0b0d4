# SPDX-License-Identifier: Apache-2.0
"""Bodies about reference values."""

from korora_nova.rats import schemas

CREATE = schemas.closed({'name': schemas.HOST, 'host': schemas.HOST})
