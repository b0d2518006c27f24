#!/bin/sh
# Make the virtual environment of an unpacked release.
# Usage: install_release.sh DIRECTORY PYTHON, where DIRECTORY holds wheels/ and requirements.txt.
# What an interrupted attempt left is removed first, and the file .complete appears last.
set -eu
release=$1
python=$2

cd "$release"
rm -rf .complete bin include lib lib64 pyvenv.cfg
# pip comes as a wheel and runs from it, so that the host needs no ensurepip (on Debian, python3-venv).
"$python" -m venv --without-pip .
set -- wheels/pip-*.whl
bin/python -I "$1/pip" --isolated --disable-pip-version-check --quiet install \
    --no-index --find-links wheels --no-deps --require-hashes --no-cache-dir --no-compile --requirement requirements.txt
# Byte code for what a check imports: the host's Python may not write it later. Big libraries stay as they are.
for package in hosttune agent desk msgspec yaml pyroute2; do
    bin/python -I -m compileall -q lib/python*/site-packages/$package
done
rm -rf wheels
sync -f .
: >.complete
