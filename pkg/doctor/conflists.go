// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"

	"github.com/halfclose/halfclose/pkg/cniconf"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/policy"
)

// chains is what the runtime's network configurations say.
type chains struct {
	dir    string
	err    error // of listing it; fs.ErrNotExist where there is none
	files  []confFile
	binary binary
}

// confFile is one network configuration.
type confFile struct {
	cniconf.File
	ours []plugin
}

// plugin is an object of ours in a chain.
type plugin struct {
	index    int // its place in the chain
	network  policy.Network
	problems policy.Problems
}

func inspectChains(ctx context.Context, cfg Config) chains {
	h := hostfs.Dir(cfg.HostRoot)
	c := chains{dir: cfg.ConfDir}
	var files []cniconf.File
	if files, c.err = loadConfs(h, cfg.ConfDir); c.err != nil {
		return c
	}
	for _, f := range files {
		c.files = append(c.files, withOurs(f))
	}
	c.binary = inspectBinary(ctx, h, filepath.Join(cfg.BinDir, spec.PluginType))
	return c
}

func loadConfs(h hostfs.Dir, path string) ([]cniconf.File, error) {
	d, err := h.OpenDirectory(path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return cniconf.Load(d)
}

// withOurs reads our objects in a file that runtimes can load.
func withOurs(f cniconf.File) confFile {
	c := confFile{File: f}
	if f.Problem() == nil {
		c.ours = ours(f.Plugins())
	}
	return c
}

func ours(chain []*libcni.PluginConfig) []plugin {
	var all []plugin
	for i, conf := range chain {
		if !cniconf.IsOurs(conf) {
			continue
		}
		p := plugin{index: i}
		p.network, p.problems = policy.ParseNetwork(conf.Bytes)
		all = append(all, p)
	}
	return all
}
