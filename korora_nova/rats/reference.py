# SPDX-License-Identifier: Apache-2.0
"""Reference values: the state a host must be in."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jsonschema

from korora_nova import errors
from korora_nova.rats import ima, policydigest, schemas

if TYPE_CHECKING:
    from korora_nova.rats.appraise import Appraisal

SCHEMA = schemas.closed({
    'version': schemas.VERSION, 'name': schemas.text(255),
    'pcrs': schemas.closed({
        str(index): {'type': 'array', 'minItems': 1, 'maxItems': 64,
                     'items': schemas.DIGEST}
        for index in policydigest.PCRS_POLICY}),
    'ima_digests': {'type': 'array', 'maxItems': ima.MAX_ENTRIES}})
# A list can be long, and a schema takes 10 us for each of its items.
_DIGEST = re.compile('[a-z0-9-]{1,16}:[0-9a-f]{32,128}')


@dataclasses.dataclass(frozen=True)
class ReferenceValues:
    """Golden values of a kind of host.

    :param pcrs: every PCR of ``policydigest.PCRS_POLICY`` to the admitted
        values, hex.
    :param ima_digests: digests of the files that may run, "ALG:HEX".
    """

    name: str
    pcrs: Mapping[int, tuple[str, ...]]
    ima_digests: frozenset[str]

    def __post_init__(self) -> None:
        # A PCR without values would be a PCR that nobody compares.
        if set(self.pcrs) != set(policydigest.PCRS_POLICY) or not all(
                self.pcrs.values()):
            raise errors.Invalid(errors.Reason.INVALID_REQUEST,
                                 'Reference values must name every PCR.')

    def to_json(self) -> dict[str, Any]:
        return {'version': 1, 'name': self.name,
                'pcrs': {str(index): list(values)
                         for index, values in sorted(self.pcrs.items())},
                'ima_digests': sorted(self.ima_digests)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ReferenceValues:
        """Read what :meth:`to_json` made.

        :raises Invalid: INVALID_REQUEST.
        """
        validator = jsonschema.Draft202012Validator(SCHEMA)
        if next(validator.iter_errors(document), None) is not None or (
                not all(map(_is_digest, document['ima_digests']))):
            raise errors.Invalid(errors.Reason.INVALID_REQUEST,
                                 'The reference values do not follow their '
                                 'schema.')
        return cls(document['name'],
                   {int(index): tuple(values)
                    for index, values in document['pcrs'].items()},
                   frozenset(document['ima_digests']))


def _is_digest(item: object) -> bool:
    return isinstance(item, str) and _DIGEST.fullmatch(item) is not None


def learn(name: str, verified: Appraisal) -> ReferenceValues:
    """Take the state of a host whose logs verified as the wanted one.

    :raises Untrusted: NO_REFERENCE; a log failed, or a violation occurred:
        there is no state to learn.
    """
    if verified.events is None or verified.ima is None or any(
            entry.violation for entry in verified.ima):
        raise errors.Untrusted(
            errors.Reason.NO_REFERENCE, 'Nothing can be learned from a host '
            'whose logs do not verify.')
    return ReferenceValues(
        name, {index: (verified.quote.pcrs[index].hex(),)
               for index in policydigest.PCRS_POLICY},
        frozenset(entry.digest for entry in verified.ima
                  if entry.path != ima.BOOT_AGGREGATE))
