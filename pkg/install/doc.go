// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package install keeps the plugin chained in a node's CNI configuration.
//
// Install puts the plugin among the node's plugins, beside it the program that it starts as the reaper, and one entry
// into the network configuration that the container runtimes of the node choose. Watch stays and puts the entry back
// when another process rewrites the file. Uninstall takes it out again.
//
// The configuration belongs to others: to the network plugin that wrote it, and to whoever else chains a plugin
// there. So the text is spliced and not written anew, what is not understood is left alone, and nothing that
// somebody else writes meanwhile is lost. A process that is killed between any two steps leaves a directory from
// which a runtime loads the network, and what the next one tidies up.
//
// Installers of ours take turns by a lock on the directory. Others know no lock: a file is therefore exchanged
// with its successor in one step (renameat2(2), RENAME_EXCHANGE), and what comes out is looked at before it is
// thrown away. If it is not what the successor was made of, it goes back.
package install
