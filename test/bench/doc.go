// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command bench measures the cost of halfclose and of the alternatives side by side, with network namespaces and sockets
// that it creates. scripts/bench.sh builds its dependencies and runs it.
//
// It runs on a test node (package node), so it leaves the machine unchanged. It compares CPU time, on which other work on
// the machine has little influence. A run fails if a way finds or destroys the wrong sockets.
package main
