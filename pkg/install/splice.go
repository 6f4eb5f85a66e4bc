// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/containernetworking/cni/libcni"
	"github.com/tailscale/hujson"

	"github.com/halfclose/halfclose/pkg/cniconf"
)

// The errors for a list that cannot be changed.
var (
	errOnlyPlugin = errors.New("it lists no plugin except halfclose, which creates no interface")
	errNoInline   = errors.New("it has no plugins of its own, only drop-ins: use --drop-in")
)

// document is a conflist whose text outside the changed plugin stays as it is.
type document struct {
	value   hujson.Value
	top     *hujson.Object
	plugins *hujson.Array
	list    *libcni.NetworkConfigList // as a runtime parses it
}

// parse reads a conflist. It refuses duplicate keys, which parsers interpret in different ways.
func parse(data []byte) (*document, error) {
	list, err := libcni.NetworkConfFromBytes(data)
	if err != nil {
		return nil, err
	}
	d := &document{list: list}
	if d.value, err = hujson.Parse(data); err != nil {
		return nil, err
	}
	d.top = d.value.Value.(*hujson.Object) // libcni refuses anything else
	if key, found := duplicateKey(d.top); found {
		return nil, fmt.Errorf("its key %q occurs more than once", key)
	}
	plugins := find(d.top, "plugins")
	if plugins == nil {
		return nil, errNoInline
	}
	d.plugins = plugins.Value.Value.(*hujson.Array)
	for i, p := range d.plugins.Elements {
		if key, found := duplicateKey(p.Value.(*hujson.Object)); found {
			return nil, fmt.Errorf("the key %q of plugin %d occurs more than once", key, i)
		}
	}
	return d, nil
}

func (d *document) isOurs(i int) bool { return cniconf.IsOurs(d.list.Plugins[i]) }

// countOurs returns how many plugins of the list are halfclose.
func (d *document) countOurs() (n int) {
	for i := range d.list.Plugins {
		if d.isOurs(i) {
			n++
		}
	}
	return n
}

// addEntry returns the conflist with exactly one entry of ours. An existing entry is updated in place, and keeps its text
// if it is equal. If it is the first plugin, which would make every ADD fail, it moves to the end. Of several entries the
// first remains. All other text stays.
func addEntry(data []byte, entry Entry) ([]byte, error) {
	d, err := parse(data)
	if err != nil {
		return nil, err
	}
	others := d.others()
	if len(others) == 0 {
		return nil, errOnlyPlugin
	}
	keep := -1
	for i := range d.plugins.Elements {
		if d.isOurs(i) && i > 0 {
			keep = i
			break
		}
	}
	current := keep > 0 && entry.equals(text(d.plugins.Elements[keep]))
	if current && d.countOurs() == 1 {
		return data, nil
	}
	if keep > 0 && !current {
		d.plugins.Elements[keep].Value = hujson.Literal(entry.text) // packed as it is
	}
	d.drop(func(i int) bool { return d.isOurs(i) && i != keep })
	if keep < 0 {
		last := d.plugins.Elements[len(d.plugins.Elements)-1]
		d.plugins.Elements = append(d.plugins.Elements, hujson.Value{
			BeforeExtra: bytes.Clone(last.BeforeExtra), Value: hujson.Literal(entry.text),
		})
	}
	return d.pack(others, &entry)
}

// removeEntry returns the conflist without entries of ours. All other text stays.
func removeEntry(data []byte) ([]byte, error) {
	d, err := parse(data)
	if err != nil {
		return nil, err
	}
	others := d.others()
	switch len(others) {
	case len(d.plugins.Elements):
		return data, nil
	case 0:
		return nil, errOnlyPlugin
	}
	d.drop(d.isOurs)
	return d.pack(others, nil)
}

// drop removes plugins from the list.
func (d *document) drop(unwanted func(int) bool) {
	var kept []hujson.Value
	for i, p := range d.plugins.Elements {
		if !unwanted(i) {
			kept = append(kept, p)
		}
	}
	kept[len(kept)-1].AfterExtra = nil // otherwise Pack writes a trailing comma
	d.plugins.Elements = kept
}

// pack returns the text of the changed document. It checks that a runtime reads the same other
// plugins in it, and the entry; nil stands for none.
func (d *document) pack(others []string, entry *Entry) ([]byte, error) {
	data := d.value.Pack()
	changed, err := parse(data)
	if err != nil {
		return nil, err
	}
	ours := 0
	for i, p := range changed.plugins.Elements {
		if !changed.isOurs(i) {
			continue
		}
		if ours++; i == 0 || entry == nil || !entry.equals(text(p)) {
			return nil, errors.New("refuse to write the network configuration: a runtime would read a different entry from the result")
		}
	}
	if !slices.Equal(others, changed.others()) || (ours == 1) != (entry != nil) {
		return nil, errors.New("refuse to write the network configuration: more than the entry would change")
	}
	return data, nil
}

// others returns the text of each plugin that is not ours, as parsed.
func (d *document) others() []string {
	var all []string
	for i, p := range d.plugins.Elements {
		if !d.isOurs(i) {
			all = append(all, string(text(p)))
		}
	}
	return all
}
