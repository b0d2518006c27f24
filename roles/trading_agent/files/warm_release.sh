#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# usage: warm_release.sh RELEASE_DIRECTORY CACHE_DIRECTORY USER GROUP
#
# Compile the Numba strategies for this CPU, as the user that will run them, into a directory of that user's. Nothing is
# opened there by root, who writes beside the release, in directories of its own: RELEASE_DIRECTORY/.warm appears last.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
release=$1
cache=$2
user=$3
group=$4

# The directory above is root's: nobody else can put anything at these names. rm follows no link in what it removes.
install -d -o root -g root -m 0755 -- "${cache%/*}"
rm -rf -- "$cache"
install -d -o "$user" -g "$group" -m 0700 -- "$cache"
# Once as root, who may write byte code beside the libraries. Both are root's.
"$release/bin/python" -I -c 'import agent.engine.run, numba, numpy
from agent.cli.main import build_parser
build_parser("run")'
cd /
umask 077
# No terminal and no input of root's goes down, nor a variable, a privilege or a capability.
setsid --wait setpriv --reuid="$user" --regid="$group" --init-groups --inh-caps=-all --ambient-caps=-all \
    --bounding-set=-all --no-new-privs --reset-env -- \
    "$release/bin/agent" warm --cache-dir "$cache" < /dev/null
: > "$release/.warm"
