#!/bin/sh
# The last steps of the image, run in its root: the command, the folder of the data, and nothing that installs packages.
set -eu
rm -rf /usr/local/lib/node_modules /usr/local/bin/npm /usr/local/bin/npx /usr/local/bin/corepack /usr/local/bin/yarn* /opt/yarn*
ln -s /opt/rollcall/dist/main.js /usr/local/bin/rollcall
mkdir -m 0700 /data
chown 65532:65532 /data
