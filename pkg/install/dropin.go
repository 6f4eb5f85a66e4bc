// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/internal/atomicdir"
	"github.com/halfclose/halfclose/pkg/cniconf"
)

// dropInName is the name of our drop-in.
const dropInName = "halfclose.conf"

// planDropIn plans the drop-in of a network. An entry in the conflist is removed first, so that the network lists the
// plugin at most once at any time.
func (c Config) planDropIn(d *directory, f file) ([]change, error) {
	switch {
	case !f.IsList():
		return nil, fmt.Errorf("%s holds a single plugin, for which no runtime loads drop-ins: install without --drop-in", f.Name)
	case f.List.LoadOnlyInlinedPlugins:
		return nil, fmt.Errorf("%s sets loadOnlyInlinedPlugins, so no runtime loads its drop-ins: install without --drop-in", f.Name)
	}
	var changes []change
	if f.listsPlugin() {
		var err error
		if changes, err = d.planEdit(f, removeEntry); err != nil {
			return nil, err
		}
	}
	network, path, data := f.List.Name, filepath.Join(d.Path(), f.List.Name, dropInName), []byte(c.Entry.String()+"\n")
	write := change{
		diff:  unified("/dev/null", path, nil, data),
		apply: func() error { return d.writeDropIn(network, data) },
	}
	ours := d.ourDropIns(network)
	switch {
	case len(ours) == 0:
	case len(ours) > 1 || ours[0].Name != dropInName:
		changes = append(changes, d.planRemoveDropIns(network)...)
	case c.Entry.equals(ours[0].Data):
		return changes, nil
	default:
		write.diff = unified(path, path, ours[0].Data, data)
	}
	return append(changes, write), nil
}

// ourDropIns returns the drop-ins of a network that hold the plugin. A file that cannot be loaded is not one of them.
func (d *directory) ourDropIns(network string) []cniconf.DropIn {
	sub, err := d.Below(network)
	if err != nil {
		return nil
	}
	defer sub.Close()
	all, _ := cniconf.DropIns(sub.Host())
	return slices.DeleteFunc(all, func(p cniconf.DropIn) bool { return !cniconf.IsOurs(p.Plugin) })
}

// planRemoveDropIns plans to remove our drop-ins of a network.
func (d *directory) planRemoveDropIns(network string) []change {
	ours := d.ourDropIns(network)
	if len(ours) == 0 {
		return nil
	}
	var diff strings.Builder
	for _, p := range ours {
		diff.WriteString(unified(filepath.Join(d.Path(), network, p.Name), "/dev/null", p.Data, nil))
	}
	return []change{{diff: diff.String(), apply: func() error { return d.removeDropIns(network) }}}
}

// writeDropIn writes our drop-in of a network.
func (d *directory) writeDropIn(network string, data []byte) error {
	if err := d.Note(network); err != nil {
		return err
	}
	if err := d.Mkdir(network, 0o755); err != nil {
		return err
	}
	sub, err := d.Below(network)
	if err != nil {
		return err
	}
	defer sub.Close()
	err = sub.Update(dropInName, func([]byte) ([]byte, error) { return data, nil })
	if errors.Is(err, fs.ErrNotExist) {
		err = sub.CreateNew(dropInName, data, atomicdir.DefaultOwner(0o644))
	}
	return err
}

// removeDropIns removes our drop-ins of a network, and its directory if that is empty.
func (d *directory) removeDropIns(network string) error {
	if err := d.Note(network); err != nil {
		return err
	}
	sub, err := d.Below(network)
	if err != nil {
		return err
	}
	defer sub.Close()
	for _, p := range d.ourDropIns(network) {
		if err := sub.Remove(p.Name); err != nil {
			return err
		}
	}
	return errors.Join(sub.Sync(), d.tidyDropIns(network))
}

// tidyDropIns removes the remains of a killed process from a network's drop-ins, and their directory if it is empty.
func (d *directory) tidyDropIns(network string) error {
	sub, err := d.Below(network)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer sub.Close()
	if err := sub.Tidy(); err != nil {
		return err
	}
	return d.RmdirIfEmpty(network)
}
