// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/tailscale/hujson"

	"github.com/halfclose/halfclose/internal/atomicdir"
	"github.com/halfclose/halfclose/pkg/cniconf"
)

// A file with a single plugin (.conf, .json) cannot hold a second one, so a conflist replaces it. The conflist is created
// first, when runtimes still choose the old file or already the new one, both of the same network. Then the old file is
// renamed to a name that no runtime loads.

// savedSuffix is appended to the name of a file that a conflist has replaced.
const savedSuffix = ".halfclose"

// listName returns the name of the conflist that replaces a file.
func listName(name string) string {
	return strings.TrimSuffix(name, filepath.Ext(name)) + ".conflist"
}

// confNames returns the names of the files that a conflist may have replaced.
func confNames(list string) []string {
	base := strings.TrimSuffix(list, filepath.Ext(list))
	return []string{base + ".conf", base + ".json"}
}

// indexOf returns the index of the file of that name, or -1.
func indexOf(files []file, name string) int {
	return slices.IndexFunc(files, func(f file) bool { return f.Name == name })
}

// planConversion plans to replace a file with a single plugin by a conflist with the entry. If an earlier install has
// created that conflist and another tool has written the old file again, the conflist gets the file's plugin and keeps its
// other chained plugins.
func (c Config) planConversion(d *directory, files []file, f file) ([]change, error) {
	name := listName(f.Name)
	if f.Link {
		return nil, fmt.Errorf("%s is a symbolic link, and replacing it would break the tool that manages it: make it a regular file", f.Name)
	}
	for _, other := range files {
		if other.Name != f.Name && other.Err == nil && other.Name < name {
			return nil, fmt.Errorf("install would replace %s by %s, but runtimes would then choose %s: rename that file", f.Name, name, other.Name)
		}
	}
	list, err := listOf(f.Data, nil, c.Entry)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	if err := checkSize(name, list); err != nil {
		return nil, err
	}
	save := d.planMove(f, f.Name+savedSuffix)
	i := indexOf(files, name)
	if i < 0 {
		save.diff = "" // the diff of the conflist covers it
		create := change{
			diff:  unified(filepath.Join(d.Path(), f.Name), filepath.Join(d.Path(), name), f.Data, list),
			apply: func() error { return d.CreateNew(name, list, f.Stat) },
		}
		return append(d.planRemoveDropIns(f.List.Name), create, save), nil
	}
	if files[i].Err != nil && files[i].recent {
		return nil, fmt.Errorf("%s cannot be loaded (%w): %w", name, files[i].Err, atomicdir.ErrBusy)
	}
	if !isConversionOf(files[i], f) {
		return nil, fmt.Errorf("install would replace %s by %s, but that exists and is not halfclose's: remove one of them", f.Name, name)
	}
	changes, err := d.planEdit(files[i], func(data []byte) ([]byte, error) { return updateConversion(data, f, c.Entry) })
	return append(append(d.planRemoveDropIns(f.List.Name), changes...), save), err
}

// rewrittenConf returns the file that a conflist of ours has replaced, if another tool has written that file again and
// runtimes choose the conflist.
func rewrittenConf(files []file, list file) (file, bool) {
	for _, f := range files {
		if !f.IsList() && f.Err == nil && listName(f.Name) == list.Name && isConversionOf(list, f) {
			return f, true
		}
	}
	return file{}, false
}

// isConversionOf reports whether a conflist is one that replaced a file: it has the same network and first plugin, and
// lists halfclose.
func isConversionOf(list, conf file) bool {
	d, err := parse(list.Data)
	return err == nil && d.countOurs() > 0 && !d.isOurs(0) && d.list.Name == conf.List.Name &&
		d.list.Plugins[0].Network.Type == conf.List.Plugins[0].Network.Type
}

// updateConversion returns the conflist that replaced a file, with the current plugin of that file.
func updateConversion(data []byte, conf file, entry Entry) ([]byte, error) {
	d, err := parse(data)
	if err != nil {
		return nil, err
	}
	if d.list.CNIVersion == conf.List.CNIVersion && samePlugin(d.list.Plugins[0], conf.List.Plugins[0]) {
		return addEntry(data, entry)
	}
	var others [][]byte
	for i, p := range d.plugins.Elements {
		if i > 0 && !d.isOurs(i) {
			others = append(others, text(p))
		}
	}
	return listOf(conf.Data, others, entry)
}

// isUnchangedConversion reports whether a conflist without our entry is equal to the saved file that it replaced.
func isUnchangedConversion(list file, saved []byte) bool {
	conf, err := parseSingle(saved)
	if err != nil {
		return false
	}
	data, err := removeEntry(list.Data)
	if err != nil {
		return false
	}
	without, err := libcni.NetworkConfFromBytes(data)
	return err == nil && len(without.Plugins) == 1 && without.Name == conf.list.Name &&
		without.CNIVersion == conf.list.CNIVersion && samePlugin(without.Plugins[0], conf.list.Plugins[0])
}

// listOf returns a conflist of a single plugin's configuration, as every runtime makes one in memory, of the other plugins
// and of the entry. The texts of the plugins stay as they are.
func listOf(conf []byte, others [][]byte, entry Entry) ([]byte, error) {
	single, err := parseSingle(conf)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("{\n")
	for _, key := range []string{"cniVersion", "name"} {
		if m := find(single.top, key); m != nil {
			fmt.Fprintf(&b, "  %q: %s,\n", key, text(m.Value))
		}
	}
	plugins := append([][]byte{text(single.value)}, others...)
	fmt.Fprintf(&b, "  \"plugins\": [\n    %s\n  ]\n}\n", bytes.Join(plugins, []byte(",\n    ")))
	list, err := libcni.NetworkConfFromBytes(b.Bytes())
	if err != nil {
		return nil, err
	}
	if list.Name != single.list.Name || list.CNIVersion != single.list.CNIVersion || !samePlugin(list.Plugins[0], single.list.Plugins[0]) {
		return nil, errors.New("refuse to write the conflist: a runtime would read a different network from it")
	}
	return addEntry(b.Bytes(), entry)
}

// single is the configuration of a single plugin.
type single struct {
	value hujson.Value
	top   *hujson.Object
	list  *libcni.NetworkConfigList // as a runtime parses it
}

// parseSingle is parse for the configuration of a single plugin.
func parseSingle(data []byte) (*single, error) {
	list, err := cniconf.ParseSingle(data)
	if err != nil {
		return nil, err
	}
	s := &single{list: list}
	if s.value, err = hujson.Parse(data); err != nil {
		return nil, err
	}
	top, ok := s.value.Value.(*hujson.Object)
	if !ok {
		return nil, errors.New("it is not a JSON object")
	}
	if key, found := duplicateKey(top); found {
		return nil, fmt.Errorf("its key %q occurs more than once", key)
	}
	if find(top, "plugins") != nil {
		return nil, errors.New("it is both a plugin and a list of plugins")
	}
	if cniconf.IsOurs(list.Plugins[0]) {
		return nil, errOnlyPlugin
	}
	s.top = top
	return s, nil
}

// samePlugin reports whether a runtime reads the same values in two plugins.
func samePlugin(a, b *libcni.PluginConfig) bool {
	var x, y any
	return json.Unmarshal(a.Bytes, &x) == nil && json.Unmarshal(b.Bytes, &y) == nil && reflect.DeepEqual(x, y)
}
