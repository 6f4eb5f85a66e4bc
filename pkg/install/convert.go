// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/containernetworking/cni/libcni"
	"github.com/tailscale/hujson"

	"github.com/halfclose/halfclose/pkg/cniconf"
)

// fromConf makes a conflist of the configuration of a single plugin, as every runtime does in memory, and adds
// the entry. The plugin's object is kept as it is written, but for being moved to the right. Others are plugins
// that somebody has chained before, as they are written.
func fromConf(conf []byte, others [][]byte, entry Entry) ([]byte, error) {
	single, err := parseConf(conf)
	if err != nil {
		return nil, err
	}
	const unit = "  "
	var b bytes.Buffer
	b.WriteString("{\n")
	for _, key := range []string{"cniVersion", "name"} {
		if m := find(single.top, key); m != nil {
			fmt.Fprintf(&b, "%s%q: %s,\n", unit, key, text(m.Value))
		}
	}
	fmt.Fprintf(&b, "%s\"plugins\": [\n%s%s", unit, unit+unit, indented(text(single.value), unit+unit))
	for _, other := range others {
		fmt.Fprintf(&b, ",\n%s%s", unit+unit, indented(other, unit+unit))
	}
	fmt.Fprintf(&b, "\n%s]\n}\n", unit)
	before := b.Bytes()
	list, err := libcni.NetworkConfFromBytes(before)
	if err != nil {
		return nil, err
	}
	if list.Name != single.list.Name || list.CNIVersion != single.list.CNIVersion || !samePlugin(list.Plugins[0], single.list.Plugins[0]) {
		return nil, errors.New("change nothing, since a runtime would read something else in the list")
	}
	return add(before, entry)
}

// single is the configuration of one plugin.
type single struct {
	value hujson.Value
	top   *hujson.Object
	list  *libcni.NetworkConfigList // what a runtime makes of it
}

// parseConf reads the configuration of a single plugin as a runtime does, strictly.
func parseConf(data []byte) (*single, error) {
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
		return nil, errors.New("it is no object")
	}
	if key, twice := repeated(top); twice {
		return nil, fmt.Errorf("its key %q is given more than once", key)
	}
	if find(top, "plugins") != nil {
		return nil, errors.New("it is a plugin's configuration and a list of plugins at once")
	}
	if cniconf.IsOurs(list.Plugins[0]) {
		return nil, errAlone
	}
	s.top = top
	return s, nil
}

// indented returns JSON with so much more space before each line but the first. A newline is never part of a
// string there.
func indented(data []byte, by string) []byte {
	return bytes.ReplaceAll(data, []byte("\n"), []byte("\n"+by))
}

// samePlugin reports whether a runtime reads the same in two plugins.
func samePlugin(a, b *libcni.PluginConfig) bool {
	var x, y any
	return json.Unmarshal(a.Bytes, &x) == nil && json.Unmarshal(b.Bytes, &y) == nil && reflect.DeepEqual(x, y)
}
