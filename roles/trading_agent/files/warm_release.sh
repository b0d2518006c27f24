#!/bin/sh
# Compile the Numba strategy for this CPU, as the user that will run it.
# Usage: warm_release.sh RELEASE_DIRECTORY USER GROUP. The file cache/.complete appears last.
set -eu
release=$1
user=$2
group=$3

rm -rf "$release/cache"
install -d -o "$user" -g "$group" -m 0700 "$release/cache"
# Once as root, who may write byte code beside the libraries.
"$release/bin/python" -I -c 'import agent.engine.run, numba, numpy
from agent.cli.main import build_parser
build_parser("run")'
cd /
runuser -u "$user" -- "$release/bin/agent" warm --cache-dir "$release/cache"
: >"$release/cache/.complete"
