#!/bin/bash
# DevStack's entry points; what they do is in lib/korora.

KORORA_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$KORORA_DIR/devstack/lib/korora"

if is_service_enabled korora; then
    case "$1:${2:-}" in
        stack:pre-install)
            check_korora
            install_korora_packages
            ;;
        stack:install)
            echo_summary "Installing Kororā"
            install_korora
            ;;
        stack:post-config)
            echo_summary "Configuring Kororā"
            configure_korora
            configure_korora_nova
            if is_service_enabled korora-api; then
                create_korora_accounts
                init_korora
            fi
            ;;
        stack:extra)
            echo_summary "Starting Kororā"
            start_korora
            if [[ "$KORORA_AUTO_TRUST" == True ]]; then
                trust_korora_host
            fi
            ;;
        stack:test-config)
            if is_service_enabled tempest; then
                echo_summary "Configuring Tempest for Kororā"
                configure_tempest_for_korora
            fi
            ;;
        unstack:*)
            stop_korora
            unlink_korora_driver
            ;;
        clean:*)
            stop_korora
            cleanup_korora
            ;;
    esac
fi
