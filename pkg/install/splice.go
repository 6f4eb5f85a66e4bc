// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"errors"
	"fmt"
	"slices"

	"github.com/containernetworking/cni/libcni"
	"github.com/tailscale/hujson"

	"github.com/halfclose/halfclose/pkg/cniconf"
)

// What is the matter with a list that cannot be changed.
var (
	errAlone = errors.New("it lists no plugin but halfclose, which makes no interface of its own")
	errNone  = errors.New("it lists no plugins itself: they are in files of their own, for which there is --drop-in")
)

// document is a conflist that can be changed in one place and is otherwise kept as it is written.
type document struct {
	value   hujson.Value
	top     *hujson.Object
	plugins *hujson.Array
	list    *libcni.NetworkConfigList // what a runtime reads in it
}

// parse reads a conflist, strictly: what a runtime takes in another way than it looks is refused.
func parse(data []byte) (*document, error) {
	list, err := libcni.NetworkConfFromBytes(data)
	if err != nil {
		return nil, err
	}
	d := &document{list: list}
	if d.value, err = hujson.Parse(data); err != nil {
		return nil, err
	}
	d.top = d.value.Value.(*hujson.Object) // or libcni had refused it
	if key, twice := repeated(d.top); twice {
		return nil, fmt.Errorf("its key %q is given more than once", key)
	}
	plugins := find(d.top, "plugins")
	if plugins == nil {
		return nil, errNone
	}
	d.plugins = plugins.Value.Value.(*hujson.Array)
	for i, p := range d.plugins.Elements {
		if key, twice := repeated(p.Value.(*hujson.Object)); twice {
			return nil, fmt.Errorf("the key %q of plugin %d is given more than once", key, i)
		}
	}
	return d, nil
}

func (d *document) ours(i int) bool { return cniconf.IsOurs(d.list.Plugins[i]) }

// count returns how many plugins of the list are halfclose.
func (d *document) count() (n int) {
	for i := range d.list.Plugins {
		if d.ours(i) {
			n++
		}
	}
	return n
}

// add returns the conflist with the entry in it once, and all else as it was. An entry that is there already is
// brought up to date where it stands; one that says the same is left as it is written. An entry without a plugin
// before it would fail every ADD, so it goes to the end. Of several, the first remains.
func add(data []byte, entry Entry) ([]byte, error) {
	d, err := parse(data)
	if err != nil {
		return nil, err
	}
	if d.count() == len(d.plugins.Elements) {
		return nil, errAlone
	}
	keep := -1
	for i := range d.plugins.Elements {
		if d.ours(i) && i > 0 {
			keep = i
			break
		}
	}
	if keep > 0 && d.count() == 1 && entry.says(text(d.plugins.Elements[keep])) {
		return data, nil
	}
	if keep > 0 && !entry.says(text(d.plugins.Elements[keep])) {
		old := d.plugins.Elements[keep]
		d.plugins.Elements[keep].Value = styleOf(old).render(entry)
	}
	d.drop(func(i int) bool { return d.ours(i) && i != keep })
	if keep < 0 {
		last := d.plugins.Elements[len(d.plugins.Elements)-1]
		s := styleOf(last)
		d.plugins.Elements = append(d.plugins.Elements, hujson.Value{
			BeforeExtra: s.before(last, len(d.plugins.Elements) == 1), Value: s.render(entry),
		})
	}
	return d.changed(data, &entry)
}

// remove returns the conflist without any entry of ours, and all else as it was.
func remove(data []byte) ([]byte, error) {
	d, err := parse(data)
	switch {
	case err != nil:
		return nil, err
	case d.count() == 0:
		return data, nil
	case d.count() == len(d.plugins.Elements):
		return nil, errAlone
	}
	d.drop(d.ours)
	return d.changed(data, nil)
}

// drop takes out the plugins that are not wanted.
func (d *document) drop(unwanted func(int) bool) {
	var kept []hujson.Value
	for i, p := range d.plugins.Elements {
		if !unwanted(i) {
			kept = append(kept, p)
		}
	}
	kept[len(kept)-1].AfterExtra = nil // else a comma would follow it
	d.plugins.Elements = kept
}

// changed returns the text of the document after a change, once it is proven that a runtime reads in it what it
// read before, but for our entry: that once, or not at all where there is none.
func (d *document) changed(before []byte, entry *Entry) ([]byte, error) {
	after := d.value.Pack()
	if err := onlyOurs(before, after, entry); err != nil {
		return nil, fmt.Errorf("change nothing, since more would change than our entry: %w", err)
	}
	return after, nil
}

// onlyOurs says what differs between two conflists other than our entry.
func onlyOurs(before, after []byte, entry *Entry) error {
	was, err := parse(before)
	if err != nil {
		return err
	}
	is, err := parse(after)
	if err != nil {
		return err
	}
	if !slices.EqualFunc(was.top.Members, is.top.Members, func(a, b hujson.ObjectMember) bool {
		return string(text(a.Name)) == string(text(b.Name)) &&
			(isString(a.Name, "plugins") || string(text(a.Value)) == string(text(b.Value)))
	}) {
		return errors.New("the keys of the list")
	}
	if !slices.Equal(was.others(), is.others()) {
		return errors.New("the other plugins")
	}
	want := 0
	if entry != nil {
		want = 1
	}
	if is.count() != want {
		return fmt.Errorf("%d entries of ours", is.count())
	}
	for i, p := range is.plugins.Elements {
		if is.ours(i) && (i == 0 || !entry.says(text(p))) {
			return errors.New("our entry")
		}
	}
	return nil
}

// others returns the text of each plugin that is not ours.
func (d *document) others() []string {
	var all []string
	for i, p := range d.plugins.Elements {
		if !d.ours(i) {
			all = append(all, string(text(p)))
		}
	}
	return all
}
