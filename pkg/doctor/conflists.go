// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"github.com/containernetworking/cni/libcni"

	"github.com/halfclose/halfclose/pkg/policy"
)

// pluginType is what the plugin's object in a chain says as its type, and what its binary is called.
const pluginType = "halfclose"

// chains is what the runtime's network configurations say.
type chains struct {
	dir    string
	err    error // of listing it; fs.ErrNotExist where there is none
	files  []confFile
	binary binary
}

// confFile is one network configuration.
type confFile struct {
	name string
	err  error // why it is none
	list *libcni.NetworkConfigList
	ours []plugin
}

// plugin is an object of ours in a chain.
type plugin struct {
	index    int // its place in the chain
	network  policy.Network
	problems policy.Problems
}

func lookAtChains(ctx context.Context, cfg Config) chains {
	h := host(cfg.HostRoot)
	c := chains{dir: cfg.ConfDir}
	names, err := h.names(cfg.ConfDir)
	if err != nil {
		c.err = err
		return c
	}
	slices.Sort(names)
	for _, name := range names {
		switch filepath.Ext(name) {
		case ".conf", ".conflist", ".json": // what containerd and CRI-O read
			c.files = append(c.files, h.readConf(cfg.ConfDir, name))
		}
	}
	c.binary = lookAtBinary(ctx, h, filepath.Join(cfg.BinDir, pluginType))
	return c
}

// readConf reads a network configuration as libcni does, which cannot be told to look below a root.
func (h host) readConf(dir, name string) confFile {
	f := confFile{name: name}
	data, err := h.read(filepath.Join(dir, name))
	if err != nil {
		f.err = err
		return f
	}
	f.list, f.err = parseConf(name, data)
	if f.err == nil && !f.list.LoadOnlyInlinedPlugins {
		f.err = h.addPlugins(f.list, filepath.Join(dir, f.list.Name))
	}
	if f.err == nil && len(f.list.Plugins) == 0 {
		f.err = errors.New("it has no plugins")
	}
	if f.err == nil {
		f.ours = ours(f.list)
	}
	return f
}

// parseConf reads what a file holds. By its name that may be the configuration of a single plugin, which the
// CNI specification has no more but runtimes still take.
func parseConf(name string, data []byte) (*libcni.NetworkConfigList, error) {
	if filepath.Ext(name) == ".conflist" {
		return libcni.NetworkConfFromBytes(data)
	}
	//nolint:staticcheck // deprecated, as is the format: runtimes call this
	conf, err := libcni.ConfFromBytes(data)
	if err != nil {
		return nil, err
	}
	//nolint:staticcheck // as above
	return libcni.ConfListFromConf(conf)
}

// addPlugins adds the plugins whose objects are in files of their own, in the directory named like the network
// (CNI spec 1.1.0, section 1).
func (h host) addPlugins(list *libcni.NetworkConfigList, dir string) error {
	names, err := h.names(dir)
	if err != nil {
		return nil //nolint:nilerr // usually there is none
	}
	slices.Sort(names)
	for _, name := range names {
		if filepath.Ext(name) != ".conf" {
			continue
		}
		data, err := h.read(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		conf, err := libcni.NetworkPluginConfFromBytes(data)
		if err != nil {
			return err
		}
		list.Plugins = append(list.Plugins, conf)
	}
	return nil
}

func ours(list *libcni.NetworkConfigList) []plugin {
	var all []plugin
	for i, conf := range list.Plugins {
		if conf.Network.Type != pluginType {
			continue
		}
		p := plugin{index: i}
		p.network, p.problems = policy.ParseNetwork(conf.Bytes)
		all = append(all, p)
	}
	return all
}
