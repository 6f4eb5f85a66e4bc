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
// Installs and uninstalls exclude each other by a lock file in the directory. Other tools ignore the lock. A file is
// therefore exchanged with its replacement in one step (renameat2(2), RENAME_EXCHANGE), and the old file is compared with
// the content from which the replacement was made. If they differ, the exchange is undone and repeated.
package install
