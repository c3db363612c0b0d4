# SPDX-License-Identifier: Apache-2.0
"""Microversions: which answers a caller wants, as in Placement.

``OpenStack-API-Version: attestation 1.1`` asks for one, or for ``latest``.
Without it a caller gets :data:`FIRST`, for good: agents and filters send no
header. api-ref/source/v1/history.inc says what each brought.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import microversion_parse
import webob

from korora_nova import errors
from korora_nova.api import faults

SERVICE_TYPE = 'attestation'
HEADER = 'OpenStack-API-Version'
#: Where the version of an answer is noted.
ENV_VERSION = 'korora.version'

Version = microversion_parse.Version

#: What was there when versions came; whoever names none gets it.
FIRST = Version(1, 0)
#: Every list has pages, filters and an entity tag.
PAGES = Version(1, 1)
#: All of them, oldest first.
VERSIONS = (FIRST, PAGES)


def wanted(request: webob.Request) -> Version:
    """The version that a caller asks for.

    :raises Invalid: INVALID_REQUEST, it is none.
    :raises NotAcceptable: VERSION_UNKNOWN, there is no such one.
    """
    header = request.headers.get(HEADER)
    if header is None:
        return FIRST
    said = microversion_parse.get_version(
        {HEADER.lower(): header}, SERVICE_TYPE
    )
    if said is None:
        return FIRST
    if said == 'latest':
        return VERSIONS[-1]
    try:
        version = microversion_parse.parse_version_string(said)
    except TypeError:
        raise errors.Invalid(
            errors.Reason.INVALID_REQUEST,
            f'The header {HEADER} has no version of the form 1.0.',
        ) from None
    if version not in VERSIONS:
        raise faults.NotAcceptable(
            errors.Reason.VERSION_UNKNOWN,
            details={
                'min_version': str(FIRST),
                'max_version': str(VERSIONS[-1]),
            },
        )
    return version


class Versioned:
    """WSGI middleware: each answer says what its version depends on.

    It is around what turns errors into answers, which have versions, too.
    """

    def __init__(self, application: Any) -> None:
        self._application = application

    def __call__(self, environ: Any, start_response: Any) -> Any:
        def started(
            status: str, headers: Iterable[tuple[str, str]], *args: Any
        ) -> Callable[[bytes], object]:
            answer: Callable[[bytes], object] = start_response(
                status, _marked(environ, headers), *args
            )
            return answer

        return self._application(environ, started)


def _marked(
    environ: Any, headers: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    kept, vary = [], []
    for name, value in headers:
        if name.lower() == 'vary':
            vary.append(value)
        else:
            kept.append((name, value))
    kept.append(('Vary', ', '.join([*vary, HEADER])))
    if ENV_VERSION in environ:
        kept.append((HEADER, f'{SERVICE_TYPE} {environ[ENV_VERSION]}'))
    return kept
