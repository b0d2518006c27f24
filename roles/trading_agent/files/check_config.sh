#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# usage: check_config.sh RELEASE_DIRECTORY CACHE_DIRECTORY USER GROUP [NAME=VALUE...] < agent.toml
#
# Print all that keeps an engine of a release from starting with a configuration, as the user and with the environment
# that the unit gives it, and end with 1 if there is anything. Root writes in a directory of its own alone, which goes.
# A release without `agent check-config` is not asked.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
release=$1
cache=$2
user=$3
group=$4
shift 4

"$release/bin/python" -I -c '
from importlib.util import find_spec
raise SystemExit(find_spec("agent.cli.check_config") is None)' || exit 0
# In check mode the user may be still to be made.
if ! uid=$(id -u -- "$user" 2>/dev/null) || ! getent group -- "$group" >/dev/null; then exit 0; fi

umask 077
place=$(mktemp -d /run/trading_agent.XXXXXX)
trap 'rm -rf -- "$place"' EXIT
cat > "$place/agent.toml"
chgrp -R -- "$group" "$place"
chmod 0750 "$place"
chmod 0640 "$place/agent.toml"

# Of systemd's directories each that is missing, or another user's, is the user's after the start (systemd.exec(5)).
directory() {
    if [ "$(stat -c %u -- "$1" 2>/dev/null)" = "$uid" ]; then echo "$1"; else echo "$place$1"; fi
}

cd /
code=0
# No terminal and no input of root's goes down, nor a variable, a privilege or a capability.
setsid --wait setpriv --reuid="$user" --regid="$group" --init-groups --inh-caps=-all --ambient-caps=-all \
    --bounding-set=-all --no-new-privs --reset-env -- \
    timeout 120 env -- CACHE_DIRECTORY="$(directory "$cache")" STATE_DIRECTORY="$(directory /var/lib/trading_agent)" \
    RUNTIME_DIRECTORY="$(directory /run/trading_agent)" "$@" \
    "$release/bin/agent" check-config "$place/agent.toml" < /dev/null > "$place/said" 2>&1 || code=$?
# The credential, of which a warning says that only the unit can read it, is the role's own.
sed -e "s|$place/agent.toml|agent.toml|g; s|$place||g" -e '/^warning: .*exchange.password_file: missing/d' "$place/said"
[ "$code" != 124 ] || echo "agent check-config: did not end in 120 s"
exit "$code"
