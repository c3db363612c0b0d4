# SPDX-License-Identifier: Apache-2.0
"""What a server demands of its host, read from flavor and image; pure.

What Nova says about a server crosses its message bus. It can therefore
raise protection and never lower it: :mod:`korora_nova.relying_party.gate`
lets the vault and the ledger override this.

=========================  ===========  =====================================
extra spec                 value        meaning
=========================  ===========  =====================================
``trust:trusted_host``     trusted      starts on attested hosts only
``korora:trusted_host``    required     the same
``korora:max_result_age``  seconds      and with a result not older than this
``korora:protected``       true         the vTPM's key is in custody, whatever
                                        ``[korora] protect_vtpm`` says
=========================  ===========  =====================================

A value that is not understood demands more, not less.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from korora_nova import errors

TRUST = 'trust:trusted_host'
TRUSTED_HOST = 'korora:trusted_host'
MAX_AGE = 'korora:max_result_age'
PROTECTED = 'korora:protected'

_TPM_SPECS = ('hw:tpm_version', 'hw:tpm_model')
_TPM_PROPS = ('hw_tpm_version', 'hw_tpm_model')
_SECURITY = 'hw:tpm_secret_security'

#: Values that ask for nothing; anything else asks.
_NO_TRUST = frozenset(('', 'untrusted', 'unknown'))
_NO_TRUSTED_HOST = frozenset(('', 'none'))
_NO_PROTECTED = frozenset(('', 'false'))


@dataclasses.dataclass(frozen=True)
class Requirement:
    """What a server demands.

    :param trusted: it may start on hosts only that are trusted now.
    :param custody: its vTPM's key lives under custody; implies trusted.
    :param max_age: oldest acceptable attestation result, seconds.
    :param vtpm: it has a vTPM of whatever mode.
    """

    trusted: bool = False
    custody: bool = False
    max_age: int | None = None
    vtpm: bool = False


def requirement(
    extra_specs: Mapping[str, object],
    image_props: Mapping[str, object],
    protect_vtpm: bool,
) -> Requirement:
    """Read a requirement.

    :param extra_specs: of the flavor; values are strings.
    :param image_props: of the image, in Nova's names (``hw_tpm_version``).
    :param protect_vtpm: ``[korora] protect_vtpm``.
    :raises Invalid: INVALID_REQUEST, ``korora:max_result_age`` is not a
        positive number of seconds.
    """
    vtpm = any(extra_specs.get(key) for key in _TPM_SPECS) or any(
        image_props.get(key) for key in _TPM_PROPS
    )
    # Nova knows no image property for this, on purpose.
    by_host = _word(extra_specs, _SECURITY) == 'host'
    custody = vtpm and (
        _word(extra_specs, PROTECTED) not in _NO_PROTECTED
        or (by_host and protect_vtpm)
    )
    max_age = _max_age(extra_specs)
    trusted = (
        custody
        or max_age is not None
        or _word(extra_specs, TRUST) not in _NO_TRUST
        or _word(extra_specs, TRUSTED_HOST) not in _NO_TRUSTED_HOST
        or _word(extra_specs, PROTECTED) not in _NO_PROTECTED
    )
    return Requirement(trusted, custody, max_age, vtpm)


def _word(values: Mapping[str, object], key: str) -> str:
    value = values.get(key)
    return '' if value is None else str(value).strip().lower()


def _max_age(extra_specs: Mapping[str, object]) -> int | None:
    text = _word(extra_specs, MAX_AGE)
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise errors.Invalid(
            errors.Reason.INVALID_REQUEST,
            f'The extra spec {MAX_AGE} is not a positive number of seconds.',
        )
    return int(text)
