# SPDX-License-Identifier: Apache-2.0
"""Nova's objects read into what the pure parts understand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from korora_nova.relying_party import gate, requirement

_PROPS = ('hw_tpm_version', 'hw_tpm_model')


def of_request(spec: Any, protect_vtpm: bool) -> requirement.Requirement:
    """The requirement of a ``nova.objects.RequestSpec``."""
    image = spec.image if spec.obj_attr_is_set('image') else None
    return requirement.requirement(
        _extra_specs(spec.flavor), _image_props(image), protect_vtpm
    )


def of_flavor(
    flavor: Any, image_meta: Any, protect_vtpm: bool
) -> requirement.Requirement:
    """The requirement of a flavor with an image."""
    return requirement.requirement(
        _extra_specs(flavor), _image_props(image_meta), protect_vtpm
    )


def of_instance(
    instance: Any,
    protect_vtpm: bool,
    *,
    image_meta: Any = None,
    vtpm: bool = False,
) -> gate.Server:
    """A server, by its ``nova.objects.Instance``.

    :param image_meta: the image it is about to use, if not its own.
    :param vtpm: something else says that it has a vTPM.
    """
    demanded = of_flavor(
        instance.flavor, image_meta or instance.image_meta, protect_vtpm
    )
    return gate.Server(instance.uuid, demanded, vtpm)


def vtpm(flavor: Any, image_meta: Any) -> tuple[object, ...]:
    """What makes the vTPMs of two flavors the same.

    :returns: version, model, and who keeps the secret.
    """
    specs, props = _extra_specs(flavor), _image_props(image_meta)
    version, model = (
        specs.get(name) or props.get(name.replace(':', '_'))
        for name in ('hw:tpm_version', 'hw:tpm_model')
    )
    # Nova's defaults: get_vtpm_constraint, get_instance_tpm_secret_security
    security = specs.get('hw:tpm_secret_security')
    return version, model or 'tpm-tis', security or 'user'


def has_vtpm(migrate_data: Any) -> bool:
    """Whether the other host says that the server has a vTPM.

    :param migrate_data: ``nova.objects.LibvirtLiveMigrateData``, or None.
    """
    return migrate_data is not None and bool(migrate_data.has_vtpm)


def has_secret(migrate_data: Any) -> bool:
    """Whether a passphrase, or the name of one, came along."""
    return any(
        migrate_data.obj_attr_is_set(name)
        and getattr(migrate_data, name) is not None
        for name in ('vtpm_secret_uuid', 'vtpm_secret_value')
    )


def target_address(migrate_data: Any) -> str | None:
    """Where the destination's Nova wants the stream, if it says so."""
    if migrate_data.obj_attr_is_set('target_connect_addr'):
        address: str | None = migrate_data.target_connect_addr
        return address
    return None


def copies_disks(migrate_data: Any) -> bool:
    """Whether disks are copied along with the memory, as far as it says."""
    return migrate_data.obj_attr_is_set('block_migration') and bool(
        migrate_data.block_migration
    )


def migration_of(migrate_data: Any) -> str | None:
    """UUID of the migration that the data is about, if it says so."""
    if (
        migrate_data is not None
        and migrate_data.obj_attr_is_set('migration')
        and migrate_data.migration is not None
    ):
        return str(migrate_data.migration.uuid)
    return None


def _extra_specs(flavor: Any) -> Mapping[str, object]:
    specs = flavor.get('extra_specs', {}) if flavor is not None else {}
    return specs or {}


def _image_props(image: Any) -> Mapping[str, object]:
    if image is None or not image.obj_attr_is_set('properties'):
        return {}
    properties = image.properties
    return {name: properties.get(name) for name in _PROPS}
