// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"
)

// reservedFiles is the number of file descriptors that a reaper needs for its work besides connections: about 15 that
// stay open, and those for looking up owners and destroying sockets.
const reservedFiles = 16

// connLimit returns the number of connections that a listener may have at once: most, or a quarter of the file
// descriptors beyond reservedFiles if that is less, but at least one.
func connLimit(most int) int {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil || files.Cur > 1<<30 {
		return most
	}
	return max(min(most, (int(files.Cur)-reservedFiles)/4), 1)
}

// limitConns has srv serve at most limit connections of l at once: further ones wait in the listener's backlog, and take
// no file descriptor. It calls full, at most once a minute, when all are in use. srv must not have a ConnState yet.
func limitConns(srv *http.Server, l net.Listener, limit int, full func()) net.Listener {
	var (
		mu       sync.Mutex
		open     int
		reported time.Time
	)
	srv.ConnState = func(_ net.Conn, state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		switch state {
		case http.StateNew:
			open++
		case http.StateClosed, http.StateHijacked:
			open--
		}
		if open == limit && state == http.StateNew && (reported.IsZero() || time.Since(reported) >= time.Minute) {
			reported = time.Now()
			go full() // it may wait for the reaper
		}
	}
	return netutil.LimitListener(l, limit)
}

// writeStall is the time after which a client that does not read its answer is disconnected.
const writeStall = time.Minute

// stallListener disconnects clients that do not read. It overrides the server's WriteTimeout, which limits a whole answer.
type stallListener struct{ net.Listener }

func (l stallListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return stallConn{conn}, nil
}

type stallConn struct{ net.Conn }

func (c stallConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeStall)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
