#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Called by irqbalance (--policyscript) with the sysfs path of a device and an interrupt number. Interrupts of the
# interfaces that the profile gives CPUs to are not irqbalance's. Managed by the role irq_affinity.
# shellcheck disable=SC2013  # names of interfaces have no spaces
for interface in $(sed -n '/^  queues:/,$ s/^    \([^:]*\):.*/\1/p' /etc/hosttune/profile.d/irq_affinity.yml); do
    device=/sys/class/net/$interface/device
    if [ -e "$device/msi_irqs/$2" ] || [ -e "$device/../msi_irqs/$2" ]; then
        echo ban=true
        exit 0
    fi
done
echo ban=false
