#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# usage: live_qdisc.sh check|apply QDISC|default [INTERFACE...]
#
# Bring interfaces that are up to the kernel's default qdisc, which an interface otherwise gets only when it comes up.
# A multi-queue device has the root mq, and the qdiscs that count are its leaves. Without names: every physical device.
# Prints `eth0: pfifo_fast -> fq` for each interface that was changed (apply) or would be (check).
#
# Qdiscs that somebody attached on purpose have a handle other than 0: and are left alone.
set -eu

mode=$1
wanted=$2
shift 2
[ "$wanted" != default ] || read -r wanted < /proc/sys/net/core/default_qdisc

if [ $# = 0 ]; then
    for device in /sys/class/net/*/device; do
        [ -e "$device" ] || continue
        device=${device%/device}
        set -- "$@" "${device##*/}"
    done
fi

for interface in "$@"; do
    shown=$(tc qdisc show dev "$interface" | awk '
        $2 == "ingress" || $2 == "clsact" { next }
        $2 != "mq" && $2 != "noop" && $2 != "noqueue" { kinds[$2] = 1 }
        $3 != "0:" { print $2, $3; by_hand = 1; exit }
        END { if (!by_hand) { printf "0:"; for (kind in kinds) printf " %s", kind } }')
    case $shown in
        "0:" | "0: $wanted") ;;
        "0: "*)
            echo "$interface: ${shown#0: } -> $wanted"
            if [ "$mode" = apply ]; then
                # The default cannot be deleted, anything else can; deleting the root brings the default back.
                tc qdisc replace dev "$interface" root pfifo
                tc qdisc delete dev "$interface" root
            fi
            ;;
        "$wanted "*) ;;
        *) echo "$interface: left alone, since qdisc $shown was attached on purpose" ;;
    esac
done
