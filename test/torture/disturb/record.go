// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package disturb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/test/torture/model"
)

// records are damages of one record, repaired by another ADD, and changes of its policy. A netns with a damaged record is
// observed.
func records() []Maker {
	return []Maker{
		maker("record-damaged", 4, 6*time.Second, func(r *rand.Rand) run {
			k, lasts := r.IntN(1<<20), between(r, 500*time.Millisecond, 4*time.Second)
			damage, noise := damages()[r.IntN(len(damages()))], noise(r)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				return n.damageRecord(ctx, k, lasts, func(path string) error { return damage(path, noise) })
			}
		}),
		// Of two attachments the one that is only observed has the damaged record.
		maker("observing-record-damaged", 2, 7*time.Second, func(r *rand.Rand) run {
			name, damage, noise := fmt.Sprintf("site-%x", r.Uint32()), damages()[r.IntN(len(damages()))], noise(r)
			return func(ctx context.Context, n *Node) (effects []model.Effect, err error) {
				observed := sitePolicy()
				observed.Mode = model.Observe
				path, remove, err := n.Pods.Site(ctx, name, sitePolicy(), observed)
				if err != nil {
					return nil, err
				}
				defer func() { err = errors.Join(err, remove()) }()
				file, err := n.recordOf(ctx, path, "eth1")
				if err == nil {
					err = damage(file, noise)
				}
				if err != nil {
					return nil, err
				}
				err = n.leaksStay(ctx, path, 3, "of a namespace with a damaged record that observes")
				return nil, errors.Join(err, removeIrregular(file))
			}
		}),
		maker("add-on-full-disk", 2, 5*time.Second, func(r *rand.Rand) run {
			k, lasts := r.IntN(1<<20), between(r, 500*time.Millisecond, 3*time.Second)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) { return n.addWithoutSpace(ctx, k, lasts) }
		}),
		maker("added-again", 2, time.Second, func(r *rand.Rand) run {
			k, times := r.IntN(1<<20), 1+r.IntN(4)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				name, ifname, p := n.attachment(k)
				if name == "" {
					return nil, nil
				}
				for range times { // the same policy: no age may restart
					if err := n.Pods.Add(ctx, name, ifname, p); err != nil {
						return nil, err
					}
				}
				return nil, nil
			}
		}),
	}
}

func noise(r *rand.Rand) []byte {
	b := make([]byte, 200)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// damages are what may happen to the file of a record, so that its name still has the netns.
func damages() []func(path string, noise []byte) error {
	return []func(string, []byte) error{
		func(path string, _ []byte) error { return os.Truncate(path, 0) },
		func(path string, noise []byte) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			return os.Truncate(path, info.Size()*int64(noise[0])/256)
		},
		func(path string, noise []byte) error { return os.WriteFile(path, noise, 0o600) },
		func(path string, _ []byte) error { return replaceIn(path, `"version": 2`, `"version": 3`) },
		func(path string, _ []byte) error {
			return replaceIn(path, `"path": "/`, `"path": "/run/gone/`)
		},
		func(path string, _ []byte) error { return replaceIn(path, `"layers"`, `"layer"`) },
		func(path string, _ []byte) error { return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)) },
		func(path string, _ []byte) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
		func(path string, _ []byte) error { return errors.Join(os.Remove(path), os.Symlink("/dev/zero", path)) },
	}
}

// replaceIn replaces a text in a file atomically.
func replaceIn(path, from, to string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Contains(b, []byte(from)) {
		return fmt.Errorf("damage the record %s: it has no %s", path, from)
	}
	tmp := filepath.Join(filepath.Dir(filepath.Dir(path)), ".damaged")
	if err := os.WriteFile(tmp, bytes.Replace(b, []byte(from), []byte(to), 1), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// attachment returns one of the attachments; name is "" if there is none.
func (n *Node) attachment(k int) (name, ifname string, p model.Policy) {
	if name = n.choose(k); name == "" {
		return "", "", p
	}
	ifnames := n.Pods.Ifnames(name)
	if len(ifnames) == 0 {
		return "", "", p
	}
	ifname = ifnames[k/7%len(ifnames)]
	p, ok := n.Pods.Policy(name, ifname)
	if !ok {
		return "", "", p
	}
	return name, ifname, p
}

// recordOf returns the file of the record of an attachment of the namespace at the path.
func (n *Node) recordOf(ctx context.Context, path, ifname string) (string, error) {
	listing, err := state.New(n.StateDir).List(ctx)
	if err != nil {
		return "", err
	}
	for _, r := range listing.Records {
		if r.Netns.Path == path && r.IfName == ifname {
			file, err := r.FileName()
			return filepath.Join(n.attachments(), file), err
		}
	}
	return "", fmt.Errorf("no record is of %s at %s", ifname, path)
}

// damageRecord damages the record of an attachment, and repairs it with another ADD after a time.
func (n *Node) damageRecord(ctx context.Context, k int, lasts time.Duration, damage func(path string) error) ([]model.Effect, error) {
	resume := sync.OnceFunc(n.Pods.Pause())
	defer resume()
	name, ifname, p := n.attachment(k)
	if name == "" {
		return nil, nil
	}
	path, err := n.recordOf(ctx, n.Pods.Path(name), ifname)
	if err != nil {
		return nil, err
	}
	since := model.Now()
	if err := damage(path); err != nil {
		return nil, err
	}
	if err := n.awaitStatus(ctx, "the reaper reports the damaged record "+path, func(s *api.Status) bool { return reports(s, filepath.Base(path)) }); err != nil {
		return nil, err
	}
	from := model.Now() + actionDelay
	if err := sleep(ctx, actionDelay+lasts); err != nil {
		return nil, err
	}
	to := model.Now()
	if err := removeIrregular(path); err != nil {
		return nil, err
	}
	resume()
	if err := n.Pods.Add(ctx, name, ifname, p); err != nil {
		return nil, err
	}
	if err := n.awaitStatus(ctx, "the reaper reads the record "+path, func(s *api.Status) bool { return !reports(s, filepath.Base(path)) }); err != nil {
		return nil, err
	}
	until := model.Now()
	return []model.Effect{
		{Kind: model.Observed, Since: since, From: from, To: to, Until: until, Netns: name},
		{Kind: model.Down, Since: since, From: until, To: since, Until: until, Netns: name},
	}, nil
}

// removeIrregular removes what is at the path of a record and is not a file: the plugin replaces only files.
func removeIrregular(path string) error {
	if info, err := os.Lstat(path); err != nil || info.Mode().IsRegular() {
		return nil
	}
	return os.Remove(path)
}

// reports reports whether the status has a problem with the file of a record.
func reports(s *api.Status, file string) bool {
	isFile := func(p api.ProblemView) bool { return p.File == file }
	of, _, err := state.ParseFileName(file)
	return slices.ContainsFunc(s.Problems, isFile) || slices.ContainsFunc(s.Attachments, func(a api.AttachmentView) bool {
		return slices.ContainsFunc(a.BlockedBy, isFile) || err == nil && a.Attachment == of && a.Inert != ""
	})
}

// addWithoutSpace calls ADD for an attachment while the file system of the state directory is full, so that its record is
// dropped or stays as it is, and again once there is space.
func (n *Node) addWithoutSpace(ctx context.Context, k int, lasts time.Duration) ([]model.Effect, error) {
	resume := sync.OnceFunc(n.Pods.Pause())
	defer resume()
	name, ifname, p := n.attachment(k)
	if name == "" {
		return nil, nil
	}
	since := model.Now()
	undo, err := n.fill()
	if err != nil {
		return nil, err
	}
	careful := p
	careful.Mode = model.Observe
	added := n.Pods.TryAdd(ctx, name, ifname, careful)
	n.Log("ADD of %s in %s with mode observe on a full disk: %v", ifname, name, added)
	from := model.Now() + recordDelay
	if err := errors.Join(sleep(ctx, recordDelay+lasts), undo()); err != nil {
		return nil, err
	}
	to := model.Now()
	again := make(map[string]model.Policy) // the plugin drops all records of the pod if it cannot write one
	for _, ifname := range n.Pods.Ifnames(name) {
		if p, ok := n.Pods.Policy(name, ifname); ok {
			again[ifname] = p
		}
	}
	resume()
	for ifname, p := range again {
		if err := n.Pods.Add(ctx, name, ifname, p); err != nil {
			return nil, err
		}
	}
	if err := n.awaitReaper(ctx); err != nil {
		return nil, err
	}
	until := model.Now() + recordDelay
	return []model.Effect{
		{Kind: model.Observed, Since: since, From: from, To: to, Until: until, Netns: name},
		{Kind: model.Down, Since: since, From: until, To: since, Until: until},
	}, nil
}

// recordDelay is the time within which the reaper acts on a changed record.
const recordDelay = 2 * time.Second
