#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# usage: boot_arguments.sh PARAMETER...
#
# Compare what the configuration of GRUB asks for, what its menu has, and what this boot was given, for the named kernel
# parameters. As sets, and CPU lists by the CPUs they name: order and spelling do not matter. Prints
#   menu: ...     if the menu does not have what the configuration asks for
#   running: ...  if this boot was not given what the configuration asks for
#   reset: FILE   if a file behind the roles' drop-ins sets the arguments anew, and so takes theirs away
set -eu

root=${HOSTTUNE_ROOT-}

# arguments WORDS NAMES: those words that are arguments of the named parameters.
arguments() {
    for word in $1; do
        for name in $2; do
            [ "${word%%=*}" != "$name" ] || printf '%s ' "$word"
        done
    done
}

# elements WORDS: one line per parameter and element of its list, isolcpus=domain,2-3 -> isolcpus domain, 2, 3.
elements() {
    for word in $1; do echo "$word"; done | awk -F= '{
        count = split($2, parts, ",")
        for (i = 1; i <= count; i++)
            # No machine has a CPU 8192 (CONFIG_NR_CPUS): such a list is a mistake, and is compared as it is written.
            if (parts[i] ~ /^[0-9][0-9]?[0-9]?[0-9]?-[0-9][0-9]?[0-9]?[0-9]?$/) {
                split(parts[i], ends, "-")
                for (cpu = ends[1]; cpu <= ends[2] + 0; cpu++) print $1, cpu
            } else
                print $1, parts[i]
    }' | sort -u
}

# As update-grub reads it.
configured=$(
    set +eu
    GRUB_CMDLINE_LINUX=
    GRUB_CMDLINE_LINUX_DEFAULT=
    for file in "$root"/etc/default/grub "$root"/etc/default/grub.d/*.cfg; do
        # shellcheck source=/dev/null
        [ ! -e "$file" ] || . "$file" > /dev/null
    done
    echo "$GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT"
)
# A word that is put in where the roles' drop-ins are read has to be there after each file behind them.
reset=$(
    set +eu
    hosttune_marked=
    for hosttune_file in "$root"/etc/default/grub "$root"/etc/default/grub.d/*.cfg; do
        [ -e "$hosttune_file" ] || continue
        case $hosttune_marked${hosttune_file#"$root"} in
            /etc/default/grub.d/*)
                hosttune_first=$(printf '%s\n' 80-hosttune- "${hosttune_file##*/}" | LC_ALL=C sort | head -n 1)
                if [ "$hosttune_first" = 80-hosttune- ]; then
                    hosttune_marked=marked
                    GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT hosttune_marker"
                fi
                ;;
        esac
        # shellcheck source=/dev/null
        . "$hosttune_file" > /dev/null
        case "$hosttune_marked $GRUB_CMDLINE_LINUX_DEFAULT " in
            " "* | *" hosttune_marker "*) ;;
            *)
                echo "${hosttune_file#"$root"}"
                break
                ;;
        esac
    done
)
[ -z "$reset" ] || echo "reset: $reset"
# From here on no word is a pattern of file names.
set -f
menu=
if [ -e "$root/boot/grub/grub.cfg" ]; then
    menu=$(awk '$1 ~ /^linux(16|efi)?$/ { $1 = $2 = ""; print; exit }' "$root/boot/grub/grub.cfg")
fi
read -r running < "$root/proc/cmdline"

configured=$(arguments "$configured" "$*")
menu=$(arguments "$menu" "$*")
running=$(arguments "$running" "$*")
wanted=$(elements "$configured")
if [ "$(elements "$menu")" != "$wanted" ]; then
    echo "menu: has '${menu% }', the configuration asks for '${configured% }'"
fi
if [ "$(elements "$running")" != "$wanted" ]; then
    echo "running: with '${running% }', the configuration asks for '${configured% }'"
fi
