#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# usage: prune_caches.sh RELEASES_DIRECTORY CACHES_DIRECTORY
#
# Remove the compiled strategies of releases that are gone, and print which. Both directories are root's; what is below
# the caches is the agent's user's, and rm follows no link there.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
for cache in "$2"/*; do
    [ -e "$cache" ] || [ -L "$cache" ] || continue
    [ ! -d "$1/${cache##*/}" ] || continue
    rm -rf -- "$cache"
    echo "removed $cache"
done
