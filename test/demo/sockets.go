// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/test/node"
)

// The ends of a connection.
const (
	atClient = " at the client"
	atServer = " at the server"
)

// table has the state of each end of each connection in ss, by "name at the client" or "name at the server".
type table struct {
	states   map[string]string
	timeWait []string // the lines of sockets in TIME_WAIT
}

// is returns an error unless the end is in the state.
func (t table) is(name, end, state string) error { return want(state, t.states[name+end]) }

// hasNot returns an error if the end exists.
func (t table) hasNot(name, end string) error {
	if state, there := t.states[name+end]; there {
		return fmt.Errorf("it exists, in %s", state)
	}
	return nil
}

// noTimeWait returns an error if a socket is in TIME_WAIT.
func (t table) noTimeWait() error {
	if len(t.timeWait) > 0 {
		return errors.New(strings.Join(t.timeWait, "; "))
	}
	return nil
}

// nameOf returns the connection and end with these addresses, "" for none.
func (d *demo) nameOf(local, peer string) string {
	l, err1 := netip.ParseAddrPort(local)
	p, err2 := netip.ParseAddrPort(peer)
	if err1 != nil || err2 != nil {
		return ""
	}
	for name, client := range d.connected {
		switch client {
		case l:
			return name + atClient
		case p:
			return name + atServer
		}
	}
	return ""
}

// sockets runs ss in the namespaces of all containers.
func (d *demo) sockets() (table, error) {
	t := table{states: make(map[string]string)}
	for _, c := range d.containers() {
		out, err := output(node.Command(c.runtime.NetNS, "ss", "-Htan"))
		if err != nil {
			return table{}, err
		}
		for line := range strings.Lines(out) {
			field := strings.Fields(line)
			if len(field) < 5 {
				return table{}, fmt.Errorf("ss printed %q", line)
			}
			if name := d.nameOf(field[3], field[4]); name != "" {
				t.states[name] = field[0]
			}
			if field[0] == "TIME-WAIT" {
				t.timeWait = append(t.timeWait, strings.TrimSpace(line))
			}
		}
	}
	return t, nil
}

// showSockets shows the output of ss in the containers' namespaces.
func (d *demo) showSockets(containers ...*container) error {
	for _, c := range containers {
		if err := d.show(node.Command(c.runtime.NetNS, "ss", "-tan")); err != nil {
			return err
		}
	}
	return nil
}

// views queries the reaper for each end of each connection.
func (d *demo) views(ctx context.Context, q api.SocketQuery) (map[string]api.SocketView, error) {
	list, err := d.reaper.Sockets(ctx, q)
	if err != nil {
		return nil, err
	}
	views := make(map[string]api.SocketView)
	for _, v := range list.Sockets {
		if name := d.nameOf(v.Local, v.Peer); name != "" {
			views[name] = v
		}
	}
	return views, nil
}
