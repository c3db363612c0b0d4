#!/bin/bash
# Grenade: install the new code, migrate the schema, start again. Database,
# keys and what the host has sealed stay as they are.

set -o errexit

source "$GRENADE_DIR/grenaderc"
source "$GRENADE_DIR/functions"
source "$TARGET_DEVSTACK_DIR/stackrc"
source "$TARGET_DEVSTACK_DIR/lib/apache"
source "$TARGET_DEVSTACK_DIR/lib/tls"
source "$TARGET_DEVSTACK_DIR/lib/keystone"
source "$TARGET_DEVSTACK_DIR/lib/nova"

KORORA_DIR=$(cd "$(dirname "$0")/../.." && pwd)
source "$KORORA_DIR/devstack/settings"
source "$KORORA_DIR/devstack/lib/korora"

set -o xtrace

[[ -d $SAVE_DIR/etc.korora ]] || \
    sudo cp -pr "$KORORA_CONF_DIR" "$SAVE_DIR/etc.korora"

install_korora
upgrade_project korora-nova "$(dirname "$0")" "$BASE_DEVSTACK_BRANCH" \
    "$TARGET_DEVSTACK_BRANCH"
_korora_manage db sync
start_korora
ensure_services_started korora-api korora-agent
