// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package install keeps the plugin chained in a node's CNI configuration.
//
// Install puts the plugin into the node's plugin directory, next to it the program that the plugin starts as the reaper,
// and one entry into the network that the node's container runtimes choose. Watch also restores the entry when another
// process rewrites the file. Uninstall removes the entry from every network.
//
// The configuration belongs to the network plugin that wrote it and to other tools that chain plugins. So the entry is
// spliced into the text and every other byte stays, a file that is not fully understood is refused, and no change of
// another process is lost. A process that is killed between any two steps leaves a directory from which a runtime can
// load the network. The next install or uninstall removes the remains.
//
// Package atomicdir has the lock between installs and uninstalls, and the exchange of a file that other tools write too.
package install
