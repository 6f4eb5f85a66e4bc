// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/test/peer"
)

// pod is a pod, or a container with its own network namespace.
type pod struct {
	*peer.Client
	line  net.Conn // to the peer; it holds the namespace
	name  string
	id    string // by which plugins know it
	netns string // a path to its network namespace
	owner string // the ID of the container that owns its sockets, "" if there is none
	addr  string
}

func (p *pod) attachment() state.Attachment {
	return state.Attachment{ContainerID: p.id, IfName: "eth0"}
}

// run starts a pod. It is removed when the test ends, unless it has been removed before.
func (s *site) run(t *testing.T, name string, annotations map[string]string) *pod {
	t.Helper()
	name = s.unique(name)
	p, err := s.runtime.run(t, name, annotations)
	if err != nil {
		t.Fatalf("run %s: %v", name, err)
	}
	t.Cleanup(func() {
		if p.netns != "" {
			s.remove(t, p)
		}
	})
	p.connect(t)
	return p
}

// unique returns a name that no earlier pod has had: the history outlives pods.
func (s *site) unique(name string) string {
	*s.pods++
	return fmt.Sprintf("%s-%d", name, *s.pods)
}

// remove removes a pod.
func (s *site) remove(t *testing.T, p *pod) {
	t.Helper()
	p.line.Close()
	s.runtime.remove(t, p)
	p.netns = ""
}

// connect connects to the pod's peer, and reads the pod's address.
func (p *pod) connect(t *testing.T) {
	t.Helper()
	nstest.Eventually(t, testnode.Patience, "the peer of "+p.name+" takes orders", func() bool {
		return p.inside(func() (err error) {
			p.line, err = net.Dial("unix", peer.Socket)
			return err
		}) == nil
	})
	t.Cleanup(func() { p.line.Close() })
	c, err := peer.NewClient(p.line, p.line)
	if err != nil {
		t.Fatal(err)
	}
	p.Client = c
	p.findAddress(t)
}

// findAddress reads the pod's address from its interface.
func (p *pod) findAddress(t *testing.T) {
	t.Helper()
	err := p.inside(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		all, err := netlink.AddrList(link, netlink.FAMILY_V4)
		if err != nil || len(all) != 1 {
			return fmt.Errorf("%d addresses: %w", len(all), err)
		}
		p.addr = all[0].IP.String()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// inside runs fn in the pod's network namespace.
func (p *pod) inside(fn func() error) error {
	h, err := netns.Open(p.netns)
	if err != nil {
		return err
	}
	defer h.Close()
	return h.Do(fn)
}

// order sends the pod's peer an order that must succeed, and returns the answer.
func (p *pod) order(t *testing.T, words ...string) string {
	t.Helper()
	answer, err := p.Order(words...)
	if err != nil {
		t.Fatalf("%s: %s: %v", p.name, strings.Join(words, " "), err)
	}
	return answer
}

// open opens a connection to another pod, and returns its local address.
func (p *pod) open(t *testing.T, name string, to *pod) netip.AddrPort {
	t.Helper()
	local := p.order(t, "open", name, to.addr)
	to.order(t, "wait", name)
	return netip.MustParseAddrPort(local)
}

// leak leaves the pod with a socket in CLOSE_WAIT: the other pod has shut its direction, and keeps the socket open.
func (p *pod) leak(t *testing.T, name string, to *pod) netip.AddrPort {
	t.Helper()
	local := p.open(t, name, to)
	to.order(t, "shut", name)
	return local
}

// timeWaits counts the pod's sockets in TIME_WAIT.
func (p *pod) timeWaits(t *testing.T) (n int) {
	t.Helper()
	err := p.inside(func() error {
		conn, err := inetdiag.Open()
		if err != nil {
			return err
		}
		defer conn.Close()
		return conn.Dump(inetdiag.Filter{States: inetdiag.AllStates}, func(s *inetdiag.Socket) error {
			if s.State == inetdiag.TimeWait {
				n++
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
