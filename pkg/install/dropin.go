// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/cniconf"
)

// dropInName is the name of our drop-in.
const dropInName = "halfclose.conf"

// dropIns returns the plugins of a network that are in files of their own. A file that cannot be loaded there is not
// ours, and keeps a runtime from loading the network whatever install does.
func (d *directory) dropIns(network string) []cniconf.DropIn {
	sub, err := d.below(network)
	if err != nil {
		return nil
	}
	defer sub.close()
	all, _ := cniconf.DropIns(sub.dir)
	return all
}

// planDropIn plans the drop-in of a network. An entry in the conflist goes first: for a moment there is none of
// ours, but never two.
func (c Config) planDropIn(d *directory, f file) ([]change, error) {
	switch {
	case !f.IsList():
		return nil, fmt.Errorf("%s holds a single plugin, and no runtime loads drop-ins for that: install without --drop-in", f.Name)
	case f.List.LoadOnlyInlinedPlugins:
		return nil, fmt.Errorf("%s says loadOnlyInlinedPlugins, so that no runtime loads drop-ins: install without --drop-in", f.Name)
	}
	var changes []change
	if f.lists() {
		var err error
		if changes, err = d.planEdit(f, remove); err != nil {
			return nil, err
		}
	}
	network, path, data := f.List.Name, filepath.Join(d.path, f.List.Name, dropInName), c.Entry.file()
	put := change{
		diff:  unified("/dev/null", path, "", string(data)),
		apply: func(ctx context.Context) error { return d.putDropIn(ctx, network, data) },
	}
	ours := d.ourDropIns(network)
	switch {
	case len(ours) == 0:
	case len(ours) > 1 || ours[0].Name != dropInName:
		changes = append(changes, d.planRemoveDropIns(network)...)
	case c.Entry.says(ours[0].Data):
		return changes, nil
	default:
		put.diff = unified(path, path, string(ours[0].Data), string(data))
	}
	return append(changes, put), nil
}

// ourDropIns returns the drop-ins of a network that are ours.
func (d *directory) ourDropIns(network string) []cniconf.DropIn {
	return slices.DeleteFunc(d.dropIns(network), func(p cniconf.DropIn) bool { return !cniconf.IsOurs(p.Plugin) })
}

// planRemoveDropIns plans that the drop-ins of a network go that are ours.
func (d *directory) planRemoveDropIns(network string) []change {
	ours := d.ourDropIns(network)
	if len(ours) == 0 {
		return nil
	}
	var diff strings.Builder
	for _, p := range ours {
		diff.WriteString(unified(filepath.Join(d.path, network, p.Name), "/dev/null", string(p.Data), ""))
	}
	return []change{{diff: diff.String(), apply: func(context.Context) error { return d.removeDropIns(network) }}}
}

// putDropIn writes the drop-in of a network.
func (d *directory) putDropIn(ctx context.Context, network string, data []byte) error {
	return d.nudged(network, func() error {
		if err := unix.Mkdirat(d.fd(), network, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return d.failed("make directory", network, err)
		}
		sub, err := d.below(network)
		if err != nil {
			return err
		}
		defer sub.close()
		if err := errors.Join(sub.tidy(), d.sync()); err != nil {
			return err
		}
		err = sub.update(ctx, dropInName, func([]byte) ([]byte, error) { return data, nil })
		if errors.Is(err, fs.ErrNotExist) {
			err = sub.make(dropInName, data, mine(0o644))
		}
		return err
	})
}

// removeDropIns removes the drop-ins of a network that are ours, and its directory if that is empty then.
func (d *directory) removeDropIns(network string) error {
	return d.nudged(network, func() error {
		sub, err := d.below(network)
		if err != nil {
			return err
		}
		defer sub.close()
		for _, p := range d.ourDropIns(network) {
			if err := sub.remove(p.Name); err != nil {
				return err
			}
		}
		return errors.Join(sub.sync(), d.tidyBelow(network))
	})
}

// tidyBelow is tidy for the directory of a network's drop-ins, which goes if it is empty then.
func (d *directory) tidyBelow(network string) error {
	sub, err := d.below(network)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer sub.close()
	if err := sub.tidy(); err != nil {
		return err
	}
	err = unix.Unlinkat(d.fd(), network, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return nil
	}
	return errors.Join(d.failed("remove", network, err), d.sync())
}

// nudged makes the runtimes load the directory again after a change of a network's drop-ins, which they do not
// see. They act when a file in the directory itself is written or removed, so one is made, and goes again. If we
// are killed in between, it tells tidy where.
func (d *directory) nudged(network string, change func() error) error {
	name := "." + network + nudgeMark
	f, err := d.open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	err = change()
	if _, told := f.WriteString("load again\n"); told != nil {
		err = errors.Join(err, told)
	}
	return errors.Join(err, d.remove(name))
}

// make writes a file that is not there yet, in one step.
func (d *directory) make(name string, data []byte, like unix.Stat_t) error {
	tmp := temporary(name, data)
	if _, err := d.create(tmp, data, like); err != nil {
		return err
	}
	if err := d.place(tmp, name); err != nil {
		return errors.Join(err, d.remove(tmp))
	}
	return d.sync()
}

// file returns the entry as it stands in a file of its own.
func (e Entry) file() []byte {
	var b bytes.Buffer
	if json.Indent(&b, e.text, "", "  ") != nil {
		return e.text // an entry is JSON
	}
	b.WriteByte('\n')
	return b.Bytes()
}
