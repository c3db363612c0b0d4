# Where the kernel has no Open vSwitch: let ovn-controller make br-int on the
# user-space datapath, before it makes it on the kernel's. DevStack sets
# OVS_DATAPATH_TYPE on the bridges only that it makes itself.
if [[ "$1" == stack && "$2" == install ]]; then
    start_service openvswitch-switch
    sudo ovs-vsctl --no-wait set open_vswitch . \
        external-ids:ovn-bridge-datapath-type=netdev
fi
