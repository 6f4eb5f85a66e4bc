#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Installs a build below DESTDIR/PREFIX, as tarballs, packages and make install have it: install.sh COMMAND PLUGIN SHARE
#
# SHARE has the man pages (man/), the completions (completions/) and, in a release, the licences (licenses/).
set -euo pipefail
umask 022

command=$1
plugin=$2
share=$3
prefix=${PREFIX:-/usr/local}
to=${DESTDIR:-}$prefix
doc=$to/share/doc/halfclose
top=$(dirname "$0")/..

for file in "$command" "$plugin" "$share/man/man8/halfclose.8.gz"; do
  [ -e "$file" ] || {
    echo "install: $file is missing: run make build manual first" >&2
    exit 1
  }
done

# put MODE FROM TO replaces a file in one step, because a process may be executing the old one.
put() {
  install -D -m "$1" "$2" "$3.new.$$"
  mv -f "$3.new.$$" "$3"
}

# The command first, then the plugin, as docs/install.md says.
put 755 "$command" "$to/bin/halfclose"
put 755 "$plugin" "$to/lib/halfclose/cni/halfclose"
ln -sfn ../../../bin/halfclose "$to/lib/halfclose/cni/halfclose-reaper"

for page in "$share"/man/man*/*.gz; do
  put 644 "$page" "$to/share/man/$(basename "$(dirname "$page")")/$(basename "$page")"
done
put 644 "$share/completions/bash/halfclose" "$to/share/bash-completion/completions/halfclose"
put 644 "$share/completions/zsh/_halfclose" "$to/share/zsh/site-functions/_halfclose"
put 644 "$share/completions/fish/halfclose.fish" "$to/share/fish/vendor_completions.d/halfclose.fish"

unit=$(mktemp)
trap 'rm -f "$unit"' EXIT
sed "s|^ExecStart=/usr/local/|ExecStart=$prefix/|" "$top/deploy/systemd/halfclose.service" >"$unit"
put 644 "$unit" "$to/lib/systemd/system/halfclose.service"

put 644 "$top/LICENSE" "$doc/LICENSE"
put 644 "$top/deploy/packages/README" "$doc/README"
put 644 "$top/CHANGELOG.md" "$doc/CHANGELOG.md"
put 644 "$top/deploy/systemd/halfclose.default" "$doc/examples/halfclose.default"
put 644 "$top/deploy/policy.yaml" "$doc/examples/policy.yaml"
put 644 "$top/deploy/cni/10-halfclose.conflist" "$doc/examples/10-halfclose.conflist"
if [ -d "$share/licenses" ]; then
  (cd "$share/licenses" && find . -type f) | while read -r file; do
    put 644 "$share/licenses/$file" "$doc/$file"
  done
fi
