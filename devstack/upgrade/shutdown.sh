#!/bin/bash
# Grenade: stop the old service and agent. Servers run on.

set -o errexit

source "$GRENADE_DIR/grenaderc"
source "$GRENADE_DIR/functions"
source "$BASE_DEVSTACK_DIR/functions"
source "$BASE_DEVSTACK_DIR/stackrc"
source "$BASE_DEVSTACK_DIR/lib/tls"
source "$BASE_DEVSTACK_DIR/lib/apache"

KORORA_DIR=$(cd "$(dirname "$0")/../.." && pwd)
source "$KORORA_DIR/devstack/settings"
source "$KORORA_DIR/devstack/lib/korora"

set -o xtrace

# The TPM stays on: it is hardware, as far as the agent knows.
stop_process korora-agent
stop_process korora-api
ensure_services_stopped korora-api korora-agent
