// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/halfclose/halfclose/test/node"
	"github.com/halfclose/halfclose/test/torture/plan"
)

// outside is the name of the network namespace of the peers.
const outside = "outside"

// finTimeout is the time after which the peers' kernel forgets a closed connection, in seconds.
const finTimeout = 2

// home and away return the addresses of both ends of a namespace's link.
func home(index int, f plan.Family) netip.Addr { return linkAddress(index, f, 1) }
func away(index int, f plan.Family) netip.Addr { return linkAddress(index, f, 2) }

func linkAddress(index int, f plan.Family, end byte) netip.Addr {
	if f == plan.IPv6 {
		return netip.AddrFrom16([16]byte{0: 0xfd, 2: byte(index >> 8), 3: byte(index), 15: end})
	}
	i := uint32(index)<<2 | uint32(end)
	a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
	if f == plan.Mapped {
		return netip.AddrFrom16(a.As16())
	}
	return a
}

// loopback returns the loopback address of a family.
func loopback(f plan.Family) netip.Addr {
	switch f {
	case plan.IPv6:
		return netip.IPv6Loopback()
	case plan.Mapped:
		return netip.AddrFrom16(netip.AddrFrom4([4]byte{127, 0, 0, 1}).As16())
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// addNetns creates a named namespace with a loopback that is up.
func addNetns(name string) (path string, err error) {
	if path, err = node.AddNetns(name); err != nil {
		return "", err
	}
	return path, node.In(path, node.SetLoopbackUp)
}

// link connects a namespace with the outside.
func link(name string, index int) error {
	there, err := netns.GetFromPath(filepath.Join(node.NetnsDir, name))
	if err != nil {
		return err
	}
	defer there.Close()
	if err := node.In(filepath.Join(node.NetnsDir, outside), func() error {
		to := fmt.Sprintf("v%d", index)
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: to}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(there))}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("add a veth pair: %w", err)
		}
		return configure(to, away(index, plan.IPv4), away(index, plan.IPv6))
	}); err != nil {
		return err
	}
	return node.In(filepath.Join(node.NetnsDir, name), func() error {
		return configure("eth0", home(index, plan.IPv4), home(index, plan.IPv6))
	})
}

// configure sets a link up with two addresses.
func configure(name string, v4, v6 netip.Addr) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	const noDAD = 0x02 // IFA_F_NODAD
	return errors.Join(
		netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: v4.AsSlice(), Mask: net.CIDRMask(30, 32)}}),
		netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: v6.AsSlice(), Mask: net.CIDRMask(64, 128)}, Flags: noDAD}),
		netlink.LinkSetUp(l),
	)
}

// setFinTimeout has the kernel forget closed connections soon. It must be called in the namespace.
func setFinTimeout() error {
	return os.WriteFile("/proc/sys/net/ipv4/tcp_fin_timeout", fmt.Append(nil, finTimeout), 0)
}
