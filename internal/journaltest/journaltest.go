// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package journaltest is a journald for tests.
package journaltest

import (
	"encoding/binary"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Journald reads the datagrams of a unix socket, as journald does.
type Journald struct {
	Path string
	Conn *net.UnixConn
}

// New returns a Journald that listens until the test ends.
func New(t *testing.T) *Journald {
	t.Helper()
	path := filepath.Join(t.TempDir(), "socket")
	return &Journald{Path: path, Conn: Listen(t, path)}
}

// Listen receives datagrams at path until the test ends.
func Listen(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Next reads one entry.
func (j *Journald) Next(t *testing.T) map[string]string {
	t.Helper()
	return Parse(t, NextDatagram(t, j.Conn))
}

// NextDatagram reads one datagram.
func NextDatagram(t *testing.T, conn *net.UnixConn) []byte {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1<<20)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// Parse parses an entry of the native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/).
func Parse(t *testing.T, b []byte) map[string]string {
	t.Helper()
	entry := map[string]string{}
	rest := string(b)
	for rest != "" {
		head, tail, ok := strings.Cut(rest, "\n")
		if !ok {
			t.Fatalf("no newline at the end of %q", b)
		}
		name, value, ok := strings.Cut(head, "=")
		if !ok {
			n := binary.LittleEndian.Uint64([]byte(tail[:8]))
			value, tail = tail[8:8+n], strings.TrimPrefix(tail[8+n:], "\n")
		}
		if _, twice := entry[name]; twice {
			t.Errorf("field %s occurs twice", name)
		}
		entry[name], rest = value, tail
	}
	return entry
}
