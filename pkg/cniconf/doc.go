// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package cniconf reads a node's CNI configuration as container runtimes do: it reads the files of a directory in their
// order, with the drop-ins of each network, and selects the file that a runtime would choose. It also reads libcni's
// result cache.
//
// containerd and CRI-O load the files that end in .conf, .conflist and .json, sorted by name, with libcni. They use the
// first network. At a file that it cannot load, containerd stops, and CRI-O skips the file. A drop-in is a file with a
// plugin's object, CONFDIR/NETWORK/*.conf, which libcni from version 1.3.0 on appends to the plugins of the network's
// conflist unless that has "loadOnlyInlinedPlugins": true (CNI spec 1.1.0, "Configuration format"). Runtimes with an
// older libcni ignore drop-ins.
//
// libcni can neither read below a root nor limit the size of a file, and a FIFO blocks it. So this package reads the
// files, and libcni parses them. The names and versions that the plugin shares are in the package spec, which does not
// import libcni.
package cniconf
