// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command bench measures what halfclose costs beside what else would do its job, on network namespaces and
// sockets that it makes for the purpose. scripts/bench.sh builds what it needs and runs it.
//
// It works inside namespaces of its own (mount, network and process IDs), so that the machine is left as it
// was, however the run ends. What it compares is CPU time, not time: other work on the machine disturbs it
// little. A run in which something else was found or destroyed than there was fails.
package main
