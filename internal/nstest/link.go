// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package nstest

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// The name of the link that Link creates, at both ends, and its addresses.
const (
	LinkName = "veth0"
	LinkA    = "192.0.2.1" // of TEST-NET-1 (RFC 5737)
	LinkB    = "192.0.2.2"
)

// Link connects two namespaces by a veth pair that is up and has an address at each end.
func Link(tb testing.TB, a, b *NS) {
	tb.Helper()
	a.Do(tb, func() {
		veth := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: LinkName}, PeerName: LinkName, PeerNamespace: netlink.NsFd(b.FD()),
		}
		if err := netlink.LinkAdd(veth); err != nil {
			tb.Errorf("add a veth pair: %v", err)
		}
	})
	a.AddAddress(tb, LinkName, LinkA+"/24")
	b.AddAddress(tb, LinkName, LinkB+"/24")
	a.SetLink(tb, LinkName, true)
	b.SetLink(tb, LinkName, true)
}

// AddAddress adds an IPv4 address, such as 198.51.100.1/32, to a link in the namespace.
func (n *NS) AddAddress(tb testing.TB, name, cidr string) {
	tb.Helper()
	n.onLink(tb, name, func(link netlink.Link) error {
		addr, err := netlink.ParseAddr(cidr)
		if err != nil {
			return err
		}
		return netlink.AddrAdd(link, addr)
	})
}

// SetLink sets a link in the namespace up or down.
func (n *NS) SetLink(tb testing.TB, name string, up bool) {
	tb.Helper()
	n.onLink(tb, name, func(link netlink.Link) error {
		if up {
			return netlink.LinkSetUp(link)
		}
		return netlink.LinkSetDown(link)
	})
}

// HasLink reports whether the namespace has a link of this name.
func (n *NS) HasLink(tb testing.TB, name string) bool {
	tb.Helper()
	var err error
	n.Do(tb, func() { _, err = netlink.LinkByName(name) })
	return err == nil
}

func (n *NS) onLink(tb testing.TB, name string, change func(netlink.Link) error) {
	tb.Helper()
	n.Do(tb, func() {
		link, err := netlink.LinkByName(name)
		if err == nil {
			err = change(link)
		}
		if err != nil {
			tb.Errorf("change link %s: %v", name, err)
		}
	})
}

// ListenAt listens on an address of the namespace, such as "192.0.2.1:0", for plain TCP without keepalive.
func (n *NS) ListenAt(tb testing.TB, address string) *net.TCPListener {
	tb.Helper()
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	var (
		l   net.Listener
		err error
	)
	n.Do(tb, func() { l, err = lc.Listen(context.Background(), "tcp", address) })
	if err != nil {
		tb.Fatalf("listen at %s: %v", address, err)
	}
	tb.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// ConnectFrom connects from an address of the namespace ("" for any) to a listener in any namespace. Keepalive is off at
// both ends, and both are closed when the test ends.
func (n *NS) ConnectFrom(tb testing.TB, local string, l *net.TCPListener) Pair {
	tb.Helper()
	d := net.Dialer{KeepAlive: -1, Timeout: time.Minute}
	d.SetMultipathTCP(false)
	if local != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(local)}
	}
	var (
		c   net.Conn
		err error
	)
	n.Do(tb, func() { c, err = d.Dial("tcp", l.Addr().String()) })
	if err != nil {
		tb.Fatalf("dial %s from %q: %v", l.Addr(), local, err)
	}
	tb.Cleanup(func() { c.Close() })
	server, err := l.AcceptTCP()
	if err != nil {
		tb.Fatalf("accept: %v", err)
	}
	tb.Cleanup(func() { server.Close() })
	return Pair{Client: c.(*net.TCPConn), Server: server}
}
