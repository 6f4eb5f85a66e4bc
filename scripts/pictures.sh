#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Takes the pictures of the documentation, docs/images/{leaks,top}.svg, from real pods on a node of namespaces: 2 minutes. Needs
# root or user namespaces. Look at the result before you commit it.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches

scripts/deps.sh iproute2 util-linux python3-fonttools
# The pictures show the version of the next release.
version=$(awk '$1 == "version:" { gsub(/"/, "", $2); print $2 }' deploy/kubernetes/chart/Chart.yaml)
make --no-print-directory build cni-plugins "VERSION=v$version"
CGO_ENABLED=0 go build -trimpath -buildvcs=false -o bin/pictures-node ./test/pictures
freeze=$(scripts/tool.sh freeze)
font=$(cd tools/pictures && go list -m -f '{{.Dir}}' github.com/charmbracelet/freeze)/font/JetBrainsMono-Regular.ttf

out=bin/pictures
bin/pictures-node -o "$out"

# Only the characters of the pictures: the whole font has 270 kB.
/usr/bin/python3 -m fontTools.subset "$font" "--text=$(cat "$out"/*.ansi)" --layout-features= "--output-file=$out/mono.ttf"
for name in leaks top; do
  # freeze does not know reverse video: the selected row gets a background.
  sed -e 's/\x1b\[7m/\x1b[48;2;58;68;84m/g' -e 's/ *$//' "$out/$name.ansi" >"$out/$name.txt"
  "$freeze" "$out/$name.txt" --language ansi --font.file "$out/mono.ttf" --font.family 'JetBrains Mono' \
    --window --padding 20 --border.radius 8 --background '#14181f' --output "$out/$name.svg"
  # A viewer that ignores the embedded font takes another one of fixed width.
  sed 's/font-family="JetBrains Mono"/font-family="JetBrains Mono, Menlo, Consolas, DejaVu Sans Mono, monospace"/g' \
    "$out/$name.svg" >"docs/images/$name.svg"
done
