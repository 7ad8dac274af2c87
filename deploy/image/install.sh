#!/bin/sh
# Installs a packed Rollcall into a folder, for an image or a machine: `install.sh PACKAGE.tgz FOLDER`. Needs node, npm and tar.
# Nothing is left beside FOLDER, and only its owner can write there.
set -eu
[ $# = 2 ] || { echo "usage: install.sh PACKAGE.tgz FOLDER" >&2; exit 2; }
package=$1
folder=$2
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
mkdir -p "$folder"
tar -xzf "$package" -C "$folder" --strip-components 1 --no-same-owner
# The package pins every dependency with its checksum (npm-shrinkwrap.json), and none needs a script at its installation.
(cd "$folder" && npm ci --cache "$cache" --no-audit --no-fund --ignore-scripts --omit=dev --loglevel=error)
# What no server reads: maps and types.
find "$folder" -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' \) -delete
find "$folder" -type d -empty -delete
chmod -R a=rX,u+w "$folder"
