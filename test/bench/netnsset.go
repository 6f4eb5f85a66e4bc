// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/test/node"
)

// netnsSet is a number of network namespaces and the processes that own the sockets in them.
type netnsSet struct {
	names   []string
	targets []finder.Netns
	holders []*holder
	each    int // namespaces that a holder has, the last one less
}

// newNetnsSet creates n empty namespaces, each for up to most sockets. With childTables each gets its own hash of connections; the error is
// errNoChildTables if the kernel has no such hashes.
func newNetnsSet(prefix string, n int, childTables bool, most int) (*netnsSet, error) {
	if err := setChildTables(childTables); err != nil {
		return nil, err
	}
	each, err := perHolder(most)
	if err != nil {
		return nil, err
	}
	nd := &netnsSet{each: each}
	for i := range n {
		nd.names = append(nd.names, prefix+strconv.Itoa(i))
	}
	for range (n + each - 1) / each {
		h, err := startHolder()
		if err != nil {
			return nil, errors.Join(err, nd.end())
		}
		nd.holders = append(nd.holders, h)
	}
	err = nd.fill(0, n, sockets{})
	for _, name := range nd.names {
		if err != nil {
			break
		}
		var t finder.Netns
		t, err = identify(name, childTables)
		nd.targets = append(nd.targets, t)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make namespaces: %w", err), nd.end())
	}
	return nd, nil
}

// identify identifies a namespace, and checks that it has the requested kind of hash.
func identify(name string, childTables bool) (finder.Netns, error) {
	t := at(name)
	h, err := netns.Open(t.Paths[0])
	if err != nil {
		return t, err
	}
	defer h.Close()
	if t.Identity, err = h.Identify(); err != nil {
		return t, err
	}
	return t, h.Do(func() error {
		buckets, err := readNumber(ehashEntries)
		if err == nil && childTables != (buckets > 0) {
			err = fmt.Errorf("%s says %d: not the hash that was asked for", ehashEntries, buckets)
		}
		return err
	})
}

// The kernel's settings of connection hashes (Documentation/networking/ip-sysctl.rst).
const (
	// ehashEntries is the number of buckets, negative in a namespace that uses the machine's.
	ehashEntries = "/proc/sys/net/ipv4/tcp_ehash_entries"
	// childEntries is the number of buckets for the namespaces that are made from this one, 0 for none.
	childEntries = "/proc/sys/net/ipv4/tcp_child_ehash_entries"
	childBuckets = 4096
)

var errNoChildTables = errors.New("no net.ipv4.tcp_child_ehash_entries here: it needs Linux 6.1")

func setChildTables(on bool) error {
	value := "0"
	if on {
		value = strconv.Itoa(childBuckets)
	}
	err := os.WriteFile(childEntries, []byte(value), 0)
	if errors.Is(err, os.ErrNotExist) {
		if on {
			return errNoChildTables
		}
		return nil
	}
	return err
}

func readNumber(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// fill replaces the sockets in the namespaces from (inclusive) to (exclusive).
func (n *netnsSet) fill(from, to int, s sockets) error {
	_, err := n.orderAll(from, to, order{Sockets: s})
	return err
}

// orderAll sends the order to each holder, for its namespaces in the range from (inclusive) to (exclusive).
func (n *netnsSet) orderAll(from, to int, o order) ([][]shut, error) {
	var g errgroup.Group
	answers := make([][]shut, len(n.holders))
	for i, h := range n.holders {
		low, high := max(from, i*n.each), min(to, (i+1)*n.each, len(n.names))
		if low >= high {
			continue
		}
		g.Go(func() error {
			mine := o
			mine.Namespaces = n.names[low:high]
			a, err := h.order(mine)
			answers[i] = a.Shut
			return err
		})
	}
	return answers, g.Wait()
}

// end stops the holders and removes the namespaces.
func (n *netnsSet) end() error {
	var errs []error
	for _, h := range n.holders {
		h.stdin.Close()
		errs = append(errs, h.cmd.Wait())
	}
	for _, name := range n.names {
		if err := node.DeleteNetns(name); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// record writes records of namespaces to a state directory, as ADD does.
func record(store *state.Store, targets []finder.Netns, p policy.Policy) error {
	return recordAs(store, targets, p, "pod")
}

// recordAs is record with another prefix of the container IDs.
func recordAs(store *state.Store, targets []finder.Netns, p policy.Policy, prefix string) error {
	boot, err := netns.BootID()
	if err != nil {
		return err
	}
	for i, t := range targets {
		name := prefix + "-" + strconv.Itoa(i)
		err := store.Put(state.Record{
			Network: "bench", Attachment: state.Attachment{ContainerID: name, IfName: "eth0"}, Boot: boot,
			Netns:  state.Netns{Path: t.Paths[0], Identity: t.Identity},
			Pod:    state.Pod{Namespace: "bench", Name: name, UID: "00000000-0000-0000-0000-" + fmt.Sprintf("%012d", i)},
			Layers: policy.Layers{Network: p.Layer(policy.SourceNetwork)}, Time: time.Now().Round(0),
		})
		if err != nil {
			return err
		}
	}
	return nil
}
