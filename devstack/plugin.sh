#!/bin/bash
# DevStack's entry points; what they do is in lib/korora.

KORORA_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$KORORA_DIR/devstack/lib/korora"

case "$1:${2:-}" in
    stack:pre-install)
        install_korora_packages
        ;;
    stack:install)
        install_korora
        ;;
    stack:post-config)
        configure_korora
        configure_korora_nova
        if is_service_enabled korora-api; then
            init_korora
        fi
        ;;
    stack:extra)
        # Nova's processes wait for neither: their first question is later.
        start_korora
        ;;
    unstack:*)
        stop_korora
        ;;
    clean:*)
        stop_korora
        cleanup_korora
        ;;
esac
