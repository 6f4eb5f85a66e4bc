// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package adopt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/netns"
)

// link is a network interface.
type link struct {
	mac       net.HardwareAddr
	addresses []netip.Addr
}

// maxDumped bounds the addresses that are read of a netns: its container may have added any number.
const maxDumped = 1 << 14

// lookupLink returns the interface of that name in a netns, which it enters. It needs CAP_SYS_ADMIN.
//
// Package net would cache the interface's index for the whole process, as if it were of this process's netns.
func lookupLink(h *netns.Handle, name string) (l link, found bool, err error) {
	err = h.Do(func() error {
		index, mac, err := getLink(name)
		if errors.Is(err, unix.ENODEV) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("look up interface %q: %w", name, err)
		}
		l.mac, found = mac, true
		if l.addresses, err = getAddresses(index); err != nil {
			return fmt.Errorf("list the addresses of interface %q: %w", name, err)
		}
		return nil
	})
	return l, found, err
}

func getLink(name string) (index int32, mac net.HardwareAddr, err error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return 0, nil, err
	}
	for _, m := range messages {
		if len(m) < unix.SizeofIfInfomsg {
			continue
		}
		attrs, err := nl.ParseRouteAttr(m[unix.SizeofIfInfomsg:])
		if err != nil {
			return 0, nil, err
		}
		for _, a := range attrs {
			if a.Attr.Type == unix.IFLA_ADDRESS {
				mac = slices.Clone(net.HardwareAddr(a.Value))
			}
		}
		return nl.DeserializeIfInfomsg(m).Index, mac, nil
	}
	return 0, nil, unix.ENODEV
}

// getAddresses returns the addresses of an interface. The kernel lists those of all interfaces.
func getAddresses(index int32) (all []netip.Addr, err error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
	dumped := 0
	err = req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWADDR, func(m []byte) bool {
		dumped++
		if addr, ok := addressOf(m, index); ok {
			all = append(all, addr)
		}
		return dumped < maxDumped
	})
	if errors.Is(err, nl.ErrDumpInterrupted) {
		err = nil // an address is missing or twice: at worst the entry is proven later
	}
	return all, err
}

// addressOf returns the address in a message, if it is of the interface.
func addressOf(m []byte, index int32) (addr netip.Addr, ok bool) {
	if len(m) < unix.SizeofIfAddrmsg || binary.NativeEndian.Uint32(m[4:]) != uint32(index) { //nolint:gosec // the kernel's indexes are positive
		return addr, false
	}
	attrs, err := nl.ParseRouteAttr(m[unix.SizeofIfAddrmsg:])
	if err != nil {
		return addr, false
	}
	for _, a := range attrs {
		// IFA_LOCAL is the interface's own address, and IFA_ADDRESS that of the peer on a point-to-point link. IPv6 without a peer
		// has IFA_ADDRESS alone.
		if a.Attr.Type == unix.IFA_LOCAL || a.Attr.Type == unix.IFA_ADDRESS && !ok {
			if found, valid := netip.AddrFromSlice(a.Value); valid {
				addr, ok = found.Unmap(), true
			}
		}
	}
	return addr, ok
}
