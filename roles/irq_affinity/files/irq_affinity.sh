#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# usage: irq_affinity apply|check|watch|restore [PROFILE]
#
# Keep device interrupts on the housekeeping CPUs, and those of named network interfaces on named CPUs, as the section
# irq_affinity of PROFILE says. Managed by the role irq_affinity.
#
#   apply    move what is elsewhere. Before the first move, where everything was is saved for `restore`.
#   check    only say what apply would do
#   watch    apply at the start and after each link that comes up: a driver requests its interrupts anew in ndo_open,
#            and they then start wherever the default says
#   restore  put everything back to where it was before the first apply, and forget it
#
# Output, one line each: `changed: ...` (apply, restore), `wrong: ...` (check), `kept: ...` for an interrupt that the
# kernel does not let go (managed, or per CPU), `missing: ...` for an interface that is not there, `irqbalance: ...` when
# it runs and does not obey. These are not errors.
set -eu

root=${HOSTTUNE_ROOT-}
profile=${2-/etc/hosttune/profile.d/irq_affinity.yml}
saved=$root/var/lib/hosttune/irq_affinity/interrupts
# Interrupts that refused to move since boot, so that check does not call them wrong.
kept=$root/run/hosttune/irq_affinity.kept
irqs=$root/proc/irq

# expand LIST: set REPLY to it as single CPUs, "0-2,5" -> "0,1,2,5".
expand() {
    REPLY=
    saved_ifs=$IFS
    IFS=,
    # shellcheck disable=SC2086  # split on purpose
    set -- $1
    IFS=$saved_ifs
    for part do
        cpu=${part%-*}
        while [ "$cpu" -le "${part#*-}" ]; do
            REPLY=$REPLY${REPLY:+,}$cpu
            cpu=$((cpu + 1))
        done
    done
}

# mask CPUS: set REPLY to the hexadecimal mask of single CPUs, 32 bits per word, no leading zeros.
mask() {
    REPLY=
    word=$((${1##*,} / 32))
    while [ "$word" -ge 0 ]; do
        bits=0
        rest=$1,
        while [ -n "$rest" ]; do
            cpu=${rest%%,*}
            rest=${rest#*,}
            [ $((cpu / 32)) != "$word" ] || bits=$((bits | 1 << cpu % 32))
        done
        REPLY=$REPLY${REPLY:+,}$(printf %08x "$bits")
        word=$((word - 1))
    done
    strip "$REPLY"
}

# strip MASK: set REPLY to it without leading zeros and empty words.
strip() {
    REPLY=$1
    while :; do
        case $REPLY in
            0?* | ,*) REPLY=${REPLY#?} ;;
            *) return ;;
        esac
    done
}

# within CPUS ALLOWED: all of the first are among the second.
within() {
    rest=$1,
    while [ -n "$rest" ]; do
        case ,$2, in
            *,"${rest%%,*}",*) rest=${rest#*,} ;;
            *) return 1 ;;
        esac
    done
}

# value FILE: set REPLY to its first line, or to nothing.
value() {
    REPLY=
    read -r REPLY 2> /dev/null < "$1" || :
}

# name IRQ: set REPLY to who handles it, nothing if nobody does.
name() {
    value "$root/sys/kernel/irq/$1/actions"
}

# load_profile: YAML as the role writes it, one `key: value` per line, queues indented below theirs.
load_profile() {
    housekeeping='' queues='' irqbalance=ignore
    while IFS= read -r line; do
        entry=${line#"${line%%[! ]*}"}
        key=${entry%%:*}
        value=${entry#*:}
        value=${value# }
        value=${value#\"}
        value=${value%\"}
        case $line in
            "  housekeeping: "*) housekeeping=$value ;;
            "  irqbalance: "*) irqbalance=$value ;;
            "    "*) queues="$queues $key=$value" ;;
        esac
    done < "$root$profile"
    [ -n "$housekeeping" ] || { echo "$profile: no housekeeping CPUs" >&2; exit 2; }
    expand "$housekeeping"
    housekeeping=$REPLY
}

# plan_queues: set named to " IRQ=CPU IRQ=CPU ... " for the queues of the named interfaces.
plan_queues() {
    named=" "
    for entry in $queues; do
        interface=${entry%%=*}
        if [ ! -e "$root/sys/class/net/$interface" ]; then
            echo "missing: $interface: no such network interface"
            continue
        fi
        device=$root/sys/class/net/$interface/device
        # A virtio device has its vectors at the PCI device above it.
        for path in "$device"/msi_irqs/* "$device"/../msi_irqs/*; do
            [ -e "$path" ] || continue
            irq=${path##*/}
            case $named in *" $irq="*) continue ;; esac
            name "$irq"
            # The number at the end is the queue: eth0-rxtx-3, virtio0-input.3, mlx5_comp3@pci:0000:01:00.0
            queue=${REPLY%%@*}
            queue=${queue##*[!0-9]}
            expand "${entry#*=}"
            nth "${queue:-0}" "$REPLY"
            named="$named$irq=$REPLY "
        done
    done
}

# nth NUMBER CPUS: set REPLY to that one of the CPUs, starting over at the end.
nth() {
    rest=$2
    steps=$1
    while [ "$steps" -gt 0 ]; do
        case $rest in
            *,*) rest=${rest#*,} ;;
            *) rest=$2 ;;
        esac
        steps=$((steps - 1))
    done
    REPLY=${rest%%,*}
}

save() {
    [ ! -e "$saved" ] || return 0
    mkdir -p "${saved%/*}"
    {
        value "$irqs/default_smp_affinity"
        echo "default $REPLY"
        ! irqbalance_pid || echo "irqbalance runs"
        for path in "$irqs"/[0-9]*; do
            irq=${path##*/}
            name "$irq"
            actions=$REPLY
            value "$path/smp_affinity_list"
            echo "$irq $REPLY $actions"
        done
    } > "$saved.new"
    mv "$saved.new" "$saved"
}

apply() {
    mode=$1
    load_profile
    refused=" "
    if [ "$mode" = apply ]; then
        save
    elif [ -e "$kept" ]; then
        value "$kept"
        refused=" $REPLY "
    fi

    mask "$housekeeping"
    wanted=$REPLY
    value "$irqs/default_smp_affinity"
    found=$REPLY
    strip "$found"
    if [ "$REPLY" != "$wanted" ]; then
        move default_smp_affinity "$wanted" "new interrupts: mask $found -> $wanted"
    fi

    plan_queues
    for path in "$irqs"/[0-9]*; do
        irq=${path##*/}
        name "$irq"
        [ -n "$REPLY" ] || continue
        actions=$REPLY
        value "$path/smp_affinity_list"
        found=$REPLY
        expand "$found"
        case $named in
            *" $irq="*)
                wanted=${named#*" $irq="}
                wanted=${wanted%% *}
                [ "$REPLY" != "$wanted" ] || continue
                ;;
            *)
                wanted=$housekeeping
                ! within "$REPLY" "$housekeeping" || continue
                ;;
        esac
        move "$irq/smp_affinity_list" "$wanted" "irq $irq ($actions): $found -> $wanted"
    done

    if [ "$mode" = apply ]; then
        mkdir -p "${kept%/*}"
        echo "$refused" > "$kept"
    fi
    check_irqbalance
}

# move FILE VALUE TEXT: write, or only say so.
move() {
    number=${1%/*}
    if [ "$mode" = check ]; then
        case $refused in
            *" $number "*) echo "kept: $3" ;;
            *) echo "wrong: $3" ;;
        esac
    elif { echo "$2" > "$irqs/$1"; } 2> /dev/null; then
        echo "changed: $3"
    else # EIO or EPERM, depending on the kernel
        echo "kept: $3"
        refused="$refused$number "
    fi
}

# irqbalance_pid: set REPLY to its process, or fail.
irqbalance_pid() {
    for path in "$root"/proc/[0-9]*/comm; do
        value "$path"
        if [ "$REPLY" = irqbalance ]; then
            REPLY=${path%/comm}
            REPLY=${REPLY##*/}
            return 0
        fi
    done
    return 1
}

check_irqbalance() {
    [ "$irqbalance" != ignore ] && irqbalance_pid || return 0
    pid=$REPLY
    if [ "$irqbalance" = stopped ]; then
        echo "irqbalance: runs as process $pid, and shall not"
        return
    fi
    expand "$(tr '\0' '\n' < "$root/proc/$pid/environ" | sed -n 's/^IRQBALANCE_BANNED_CPULIST=//p')"
    banned=$REPLY
    others "$housekeeping"
    if [ "$banned" != "$REPLY" ]; then
        echo "irqbalance: process $pid is banned from CPUs '$banned', and shall be from '$REPLY'"
    fi
}

# others CPUS: set REPLY to the CPUs of the host that are not among them.
others() {
    value "$root/sys/devices/system/cpu/present"
    expand "$REPLY"
    rest=$REPLY,
    REPLY=
    while [ -n "$rest" ]; do
        case ,$1, in
            *,"${rest%%,*}",*) ;;
            *) REPLY=$REPLY${REPLY:+,}${rest%%,*} ;;
        esac
        rest=${rest#*,}
    done
}

restore() {
    [ -e "$saved" ] || return 0
    while read -r irq list actions; do
        case $irq in
            default)
                value "$irqs/default_smp_affinity"
                if [ "$REPLY" != "$list" ] && echo "$list" > "$irqs/default_smp_affinity"; then
                    echo "changed: new interrupts: mask $REPLY -> $list"
                fi
                ;;
            irqbalance) echo "irqbalance: ran before" ;;
            *)
                # After a reboot the number may be another device's.
                name "$irq"
                [ "$REPLY" = "$actions" ] || continue
                value "$irqs/$irq/smp_affinity_list"
                [ "$REPLY" != "$list" ] || continue
                if { echo "$list" > "$irqs/$irq/smp_affinity_list"; } 2> /dev/null; then
                    echo "changed: irq $irq ($actions): $REPLY -> $list"
                fi
                ;;
        esac
    done < "$saved"
    rm -f "$saved" "$kept"
}

# announce: have the kernel tell of lo, with nothing changed, until this is killed.
announce() {
    value "$root/sys/class/net/lo/netdev_group"
    while ip link set dev lo group "$REPLY"; do
        sleep 1
    done
}

watch() {
    # The monitor asks for all links first, and drops what is told meanwhile: an interface that comes up then, too. So lo
    # is announced until the monitor shows anything, and the first apply comes then: what happened before, it sees, and
    # nothing after that is missed.
    # At most one apply per second; a burst of events waits in the pipe meanwhile, and whatever it was about, the last
    # apply sees its outcome. A process of its own, so that the profile and this file count as they are then.
    ip -o monitor link | {
        announce &
        announcer=$!
        while read -r event; do
            if [ -n "$announcer" ]; then
                kill "$announcer" 2> /dev/null || :
                announcer=
                event=UP
            fi
            case $event in
                *UP*)
                    sleep 1
                    "$0" apply "$profile" || echo "failed: apply ended with $?"
                    ;;
            esac
        done
        [ -z "$announcer" ] || kill "$announcer" 2> /dev/null || :
    }
}

case ${1-} in
    apply | check) apply "$1" ;;
    watch) watch ;;
    restore) restore ;;
    *)
        echo "usage: irq_affinity apply|check|watch|restore [PROFILE]" >&2
        exit 2
        ;;
esac
