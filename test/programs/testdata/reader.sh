# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# A reader that prints "ready", stands still until a line comes, and copies what it receives to stdout:
# reader.sh ADDRESS PORT
exec 3<>"/dev/tcp/$1/$2"
echo ready
read -r
exec cat <&3
