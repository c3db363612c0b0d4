#!/bin/bash
# Grenade: a protected server outlives the upgrade and starts after it.

set -o errexit

source "$GRENADE_DIR/grenaderc"
source "$GRENADE_DIR/functions"
source "$TOP_DIR/openrc" admin admin

set -o xtrace

FLAVOR=korora-grenade
SERVER=korora-grenade

function create {
    openstack flavor create --ram 192 --disk 1 --vcpus 1 \
        --property hw:tpm_version=2.0 --property hw:tpm_model=tpm-crb \
        --property hw:tpm_secret_security=host "$FLAVOR"
    openstack server create --wait --flavor "$FLAVOR" \
        --image "$DEFAULT_IMAGE_NAME" --network private "$SERVER"
    resource_save korora server_id \
        "$(openstack server show "$SERVER" -f value -c id)"
}

function verify_noapi {
    sudo virsh domstate "$(resource_get korora server_id)" | grep running
}

function verify {
    local id
    id=$(resource_get korora server_id)
    openstack attestation server show "$id"
    openstack server reboot --hard --wait "$id"
}

function destroy {
    openstack server delete --wait "$(resource_get korora server_id)"
    openstack flavor delete "$FLAVOR"
}

case $1 in
    create | verify_noapi | verify | destroy)
        "$1"
        ;;
    force_destroy)
        set +o errexit
        destroy
        ;;
esac
