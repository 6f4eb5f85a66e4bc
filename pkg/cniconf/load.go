// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cniconf

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/utils"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/hostfs"
)

// MaxFileSize is the largest network configuration that is read, in bytes. Runtimes have no limit.
const MaxFileSize = 4 << 20

// File is a file of the configuration directory that a runtime would load.
type File struct {
	Name string
	Link bool                      // a symbolic link, which runtimes follow
	Data []byte                    // nil if it cannot be read
	Stat unix.Stat_t               // after Data was read
	List *libcni.NetworkConfigList // without drop-ins; nil if Err is set
	Err  error                     // why no runtime can load the file

	DropIns    []DropIn // that can be loaded, sorted by name
	DropInsErr error    // why a runtime with libcni 1.3.0 or later cannot load the network although Err is nil
}

// DropIn is a file with a plugin's object.
type DropIn struct {
	Name   string
	Data   []byte
	Plugin *libcni.PluginConfig
}

// IsList reports whether the file is a conflist, and not a single plugin.
func (f File) IsList() bool { return isList(f.Name) }

func isList(name string) bool { return filepath.Ext(name) == ".conflist" }

// Problem returns why a current runtime cannot load the network, nil if it can.
func (f File) Problem() error { return cmp.Or(f.Err, f.DropInsErr) }

// Plugins returns the chain that a current runtime makes of the file and the drop-ins. It is empty if Err is set.
func (f File) Plugins() []*libcni.PluginConfig {
	if f.List == nil {
		return nil
	}
	all := slices.Clone(f.List.Plugins)
	for _, d := range f.DropIns {
		all = append(all, d.Plugin)
	}
	return all
}

// IsOurs reports whether an object of a chain is halfclose's.
func IsOurs(p *libcni.PluginConfig) bool { return p.Network.Type == spec.PluginType }

// UnsupportedVersion returns a version of the specification that the network requires and the plugin does not support. A
// runtime requires the latest of the network's cniVersions, or its cniVersion if the runtime does not know that key.
func (f File) UnsupportedVersion() (version string, found bool) {
	versions := []string{f.List.CNIVersion}
	var single struct{ CNIVersion *string }
	if json.Unmarshal(f.Data, &single) == nil && single.CNIVersion != nil {
		versions = append(versions, *single.CNIVersion)
	}
	for _, v := range versions {
		if !slices.Contains(spec.Versions(), v) {
			return v, true
		}
	}
	return "", false
}

// Choose returns the index of the file that a current runtime chooses: the first that it can load. CRI-O skips the
// files before it, each of which has a Problem; containerd loads no network while there are any. It is -1 if no file
// can be loaded. F is File, or embeds one.
func Choose[F interface{ Problem() error }](files []F) int {
	return slices.IndexFunc(files, func(f F) bool { return f.Problem() == nil })
}

// ErrChanging is the error of loading a directory from which other processes keep removing files.
var ErrChanging = errors.New("the network configuration keeps changing: try again")

// loadTries bounds how often a directory is listed again because a listed file was removed before it was read.
const loadTries = 10

// Load reads the files of a directory that a runtime would load, in the order in which it does.
func Load(d *hostfs.Directory) ([]File, error) {
	for range loadTries {
		files, gone, err := loadAll(d)
		if err != nil || !gone { // if a file is gone, its replacement may exist now
			return files, err
		}
	}
	return nil, ErrChanging
}

// loadAll is Load without a retry. gone reports whether a listed file was removed before it was read.
func loadAll(d *hostfs.Directory) (files []File, gone bool, err error) {
	entries, err := d.Entries()
	if err != nil {
		return nil, false, err
	}
	for _, e := range entries {
		if e.IsDir() || !slices.Contains([]string{".conf", ".conflist", ".json"}, filepath.Ext(e.Name())) {
			continue
		}
		f := File{Name: e.Name(), Link: e.Type()&fs.ModeSymlink != 0}
		f.Data, f.Stat, f.Err = read(d, f.Name)
		if errors.Is(f.Err, fs.ErrNotExist) && !f.Link {
			return nil, true, nil
		}
		if f.Err == nil {
			f.load(d)
		}
		files = append(files, f)
	}
	return files, false, nil
}

// load parses the file's data as a runtime does.
func (f *File) load(d *hostfs.Directory) {
	if f.List, f.Err = Parse(f.Name, f.Data); f.Err != nil {
		return
	}
	if f.IsList() && !f.List.LoadOnlyInlinedPlugins {
		f.DropIns, f.DropInsErr = dropInsOf(d, f.List.Name)
	}
	if len(f.List.Plugins) == 0 && len(f.DropIns) == 0 {
		f.List, f.DropInsErr, f.Err = nil, nil, cmp.Or(f.DropInsErr, errors.New("it has no plugins"))
	}
}

// Parse returns the list that a runtime makes of a file's data. A .conf or .json holds a single plugin, which the CNI
// specification no longer allows but runtimes still load. A list may have no plugins if drop-ins add some.
func Parse(name string, data []byte) (*libcni.NetworkConfigList, error) {
	parse := ParseSingle
	if isList(name) {
		parse = libcni.NetworkConfFromBytes
	}
	list, err := parse(data)
	if err != nil {
		return nil, err
	}
	// Runtimes check the name only when they create a pod, which then fails. Here it becomes part of a path.
	if err := utils.ValidateNetworkName(list.Name); err != nil {
		return nil, err
	}
	return list, nil
}

// ParseSingle returns the list that a runtime makes of the configuration of a single plugin.
func ParseSingle(data []byte) (*libcni.NetworkConfigList, error) {
	conf, err := libcni.NetworkPluginConfFromBytes(data)
	if err != nil {
		return nil, err
	}
	return libcni.ConfListFromConf(conf) //nolint:staticcheck // deprecated, as such files are: runtimes call it
}

// dropInsOf returns the drop-ins of a network.
func dropInsOf(d *hostfs.Directory, network string) ([]DropIn, error) {
	sub, err := d.FollowBelow(network)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // most networks have none
	}
	if err != nil {
		return nil, fmt.Errorf("list the drop-ins of network %s: %w", network, err)
	}
	defer sub.Close()
	return DropIns(sub)
}

// DropIns returns the drop-ins in a network's directory that can be loaded, and an error for the others.
func DropIns(d *hostfs.Directory) ([]DropIn, error) {
	entries, err := d.Entries()
	if err != nil {
		return nil, err
	}
	var all []DropIn
	var problems []error
	for _, e := range entries {
		if e.IsDir() || filepath.Ext(e.Name()) != ".conf" {
			continue
		}
		data, _, err := read(d, e.Name())
		if errors.Is(err, fs.ErrNotExist) && e.Type()&fs.ModeSymlink == 0 {
			continue // removed since
		}
		var p *libcni.PluginConfig
		if err == nil {
			p, err = libcni.NetworkPluginConfFromBytes(data)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", filepath.Join(filepath.Base(d.Path()), e.Name()), err))
			continue
		}
		all = append(all, DropIn{e.Name(), data, p})
	}
	return all, errors.Join(problems...)
}

// read reads a file, or the target of a symbolic link, as a runtime does.
func read(d *hostfs.Directory, name string) ([]byte, unix.Stat_t, error) {
	f, err := d.Follow(name)
	if err != nil {
		return nil, unix.Stat_t{}, err
	}
	defer f.Close()
	return ReadFile(f)
}

// ReadFile reads an open network configuration. stat is its status afterwards, which shows a concurrent write.
func ReadFile(f *os.File) (data []byte, stat unix.Stat_t, err error) {
	if data, _, err = hostfs.ReadRegular(f, MaxFileSize); err != nil {
		return nil, stat, err
	}
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return nil, stat, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return data, stat, nil
}
