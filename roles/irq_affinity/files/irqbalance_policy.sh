#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Called by irqbalance (--policyscript) with the sysfs path of a device and an interrupt number. Interrupts of the
# interfaces that the profile gives CPUs to are not irqbalance's. Managed by the role irq_affinity.
root=${HOSTTUNE_ROOT-}

# A network device (PCI class 02) has interrupts before its interface, which may become one of those: at boot irqbalance
# can come in between, and it does not ask again. Looked at first, so that the interface cannot come between the two.
class=
read -r class 2> /dev/null < "$root$1/class" || :
case $class in
    0x02*)
        set -- "$1" "$2" "$root$1"/net/* "$root$1"/virtio*/net/*
        [ -e "$3" ] || [ -e "$4" ] || { echo ban=true; exit 0; }
        ;;
esac

# shellcheck disable=SC2013  # names of interfaces have no spaces
for interface in $(sed -n '/^  queues:/,$ s/^    \([^:]*\):.*/\1/p' "$root/etc/hosttune/profile.d/irq_affinity.yml"); do
    device=$root/sys/class/net/$interface/device
    if [ -e "$device/msi_irqs/$2" ] || [ -e "$device/../msi_irqs/$2" ]; then
        echo ban=true
        exit 0
    fi
done
echo ban=false
