// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// shut is a connection with one end shut down for sending, and the time of that.
type shut struct {
	Namespace string    `json:"namespace"`
	Local     string    `json:"local"` // of the other end
	Peer      string    `json:"peer"`
	At        time.Time `json:"at"`
}

// halfClose shuts one end of each established connection of the namespaces, evenly within that time and in random order, or
// as fast as possible. It returns the times.
func (o order) halfClose(held map[string][]int) ([]shut, error) {
	var clients, servers []int
	var names []string // whose each is
	for _, name := range o.Namespaces {
		half := len(held[name]) / 2 // as sockets.make returns them: the servers first
		servers, clients = append(servers, held[name][:half]...), append(clients, held[name][half:]...)
		names = append(names, slices.Repeat([]string{name}, half)...)
	}
	turns := rand.Perm(len(clients))
	all := make([]shut, 0, len(clients))
	began := time.Now()
	for i, turn := range turns {
		time.Sleep(time.Until(began.Add(o.Within * time.Duration(i) / time.Duration(len(turns)))))
		s, err := between(servers[turn])
		if err != nil {
			return nil, err
		}
		s.Namespace, s.At = names[turn], time.Now()
		if err := unix.Shutdown(clients[turn], unix.SHUT_WR); err != nil {
			return nil, fmt.Errorf("shut: %w", err)
		}
		all = append(all, s)
	}
	return all, nil
}

// between returns the addresses of a connection.
func between(fd int) (s shut, err error) {
	local, err := unix.Getsockname(fd)
	if err != nil {
		return s, err
	}
	peer, err := unix.Getpeername(fd)
	s.Local, s.Peer = addrPort(local), addrPort(peer)
	return s, err
}

func addrPort(sa unix.Sockaddr) string {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port)).String()
	}
	return ""
}

// halfClose makes all holders half-close the established connections in the namespaces from (inclusive) to (exclusive).
func (n *netnsSet) halfClose(from, to int, within time.Duration) ([]shut, error) {
	answers, err := n.orderAll(from, to, order{Within: within, HalfClose: true})
	return slices.Concat(answers...), err
}
