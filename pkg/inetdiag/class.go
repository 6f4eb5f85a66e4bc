// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inetdiag

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// OwnClassID returns the ClassID of the sockets that this process creates. It reads that of a connection over IPv4
// loopback, which it creates and closes in the network namespace of the calling thread.
func OwnClassID() (uint32, error) {
	runtime.LockOSThread() // all sockets in the same namespace
	defer runtime.UnlockOSThread()
	class, err := ownClassID()
	if err != nil {
		return 0, fmt.Errorf("read the net_cls class of own sockets: %w", err)
	}
	return class, nil
}

func ownClassID() (uint32, error) {
	client, server, err := loopbackPair()
	if err != nil {
		return 0, fmt.Errorf("connect over 127.0.0.1 (is lo up?): %w", err)
	}
	defer unix.Close(client)
	defer unix.Close(server)
	id, err := idOf(client)
	if err != nil {
		return 0, err
	}
	c, err := Open()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	s, err := c.Lookup(id)
	return s.ClassID, err
}
