// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package adopt

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"

	"github.com/halfclose/halfclose/pkg/cniconf"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/policy"
)

// network is today's configuration of a network.
type network struct {
	file     string // its path on the node
	chained  bool   // it lists halfclose
	conf     policy.Network
	problems policy.Problems
}

// networks has networks by name.
type networks map[string]network

// ConfDirs returns the directories with network configurations: those of runtimes, and of Multus.
func ConfDirs() []string { return []string{"/etc/cni/net.d", "/etc/cni/multus/net.d"} }

// loadNetworks reads the network configurations of the node. Of two networks of one name, the first is the runtime's. It
// fails if any directory cannot be read: its networks would count as missing.
func loadNetworks(root hostfs.Dir, dirs []string) (networks, error) {
	all := make(networks)
	for _, dir := range dirs {
		d, err := root.OpenDirectory(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read network configurations: %w", err)
		}
		files, err := cniconf.Load(d)
		d.Close()
		if err != nil {
			return nil, fmt.Errorf("read network configurations: %w", err)
		}
		for _, f := range files {
			if f.Problem() == nil {
				all.add(filepath.Join(dir, f.Name), f.List.Name, f.Plugins())
			}
		}
	}
	return all, nil
}

// add adds a network and, for Multus, the networks of its delegates.
func (all networks) add(file, name string, plugins []*libcni.PluginConfig) {
	if _, found := all[name]; !found {
		n := network{file: file}
		for _, p := range plugins {
			if cniconf.IsOurs(p) { // the last one writes the record
				n.chained = true
				n.conf, n.problems = policy.ParseNetwork(p.Bytes)
			}
		}
		all[name] = n
	}
	for _, p := range plugins {
		for _, list := range delegatesOf(p.Bytes) {
			all.add(file, list.Name, list.Plugins)
		}
	}
}

// delegatesOf returns the networks in a configuration of Multus, which has them in its "delegates". They have no delegates
// of their own.
func delegatesOf(conf []byte) (lists []*libcni.NetworkConfigList) {
	var multus struct{ Delegates []json.RawMessage }
	if json.Unmarshal(conf, &multus) != nil {
		return nil
	}
	for _, raw := range multus.Delegates {
		var head struct {
			Plugins   json.RawMessage
			Delegates json.RawMessage
		}
		name := "delegate.conf"
		if json.Unmarshal(raw, &head) == nil && head.Plugins != nil {
			name = "delegate.conflist"
		}
		if list, err := cniconf.Parse(name, raw); err == nil && head.Delegates == nil {
			lists = append(lists, list)
		}
	}
	return lists
}
