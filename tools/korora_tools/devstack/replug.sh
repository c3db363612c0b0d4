#!/bin/bash
# Run the plugin's phases against a cloud that is up, with DevStack's own
# functions, in stack.sh's order: replug.sh PHASE..., such as unstack or
# stack:install. Nova is started anew after stack:post-config.
unset LANG LANGUAGE
export LC_ALL=en_US.utf8 PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
umask 022
TOP_DIR=/opt/stack/devstack
FILES=$TOP_DIR/files
NOUNSET=
cd $TOP_DIR || exit 1
source $TOP_DIR/functions
source $TOP_DIR/lib/stack
GetDistro
rm -f .localrc.auto
extract_localrc_section $TOP_DIR/local.conf $TOP_DIR/localrc \
    $TOP_DIR/.localrc.auto
source $TOP_DIR/stackrc
export_proxy_variables
disable_negated_services
async_init
exec 3>&1 6>&1
set -o xtrace -o errexit
SSL_BUNDLE_FILE=$DATA_DIR/ca-bundle.pem
echo_summary() { echo "$@"; }
source lib/database
source lib/rpc_backend
source lib/host
fetch_plugins
run_phase override_defaults
for name in apache tls infra libraries lvm horizon keystone glance nova \
    placement cinder swift neutron ldap dstat atop tcpdump etcd3 os-vif; do
    source lib/$name
done
run_phase source
initialize_database_backends && define_database_baseurl
export OS_CLOUD=devstack-admin
install_oscwrap
is_service_enabled neutron && enable_neutron_server_services
for phase in "$@"; do
    if [[ $phase == stack:test-config ]]; then
        # What Tempest makes for itself can be made once only.
        install_tempest_plugins
        run_plugins stack test-config
        continue
    fi
    run_phase ${phase/:/ }
    case $phase in
        stack:post-config)
            merge_config_group $TOP_DIR/local.conf post-config
            stop_nova
            start_nova_api
            start_nova
            is_nova_ready
            ;;
        stack:extra)
            merge_config_group $TOP_DIR/local.conf extra
            ;;
    esac
done
