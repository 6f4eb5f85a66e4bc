// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// fairListener shares a limited number of connections among clients. A client that opens more than its share loses its own oldest
// one, and if all are open, the client with the most loses one: no client can keep a scraper at another address out.
type fairListener struct {
	net.Listener
	limit int // connections of all clients
	share int // connections of one address
	// refuse bounds the closed connections per second: a client that reconnects at once must not occupy a CPU.
	refuse *rate.Limiter
	// crowded is called, at most once a minute, when a connection is closed for the share of an address or, if isFull is set,
	// for the limit of all.
	crowded func(from netip.Prefix, isFull bool)

	mu       sync.Mutex
	open     []*fairConn // at most limit, in the order of their acceptance
	reported time.Time   // when crowded was called
}

// fairConn is a connection of a fairListener.
type fairConn struct {
	net.Conn
	listener *fairListener
	from     netip.Prefix
	answers  bool // its request is complete
}

// The bounds of a fairListener.
const (
	refusalsPerSecond = 1000 // about 5 % of a CPU
	sharesOfLimit     = 2    // clients that can have their whole share at once
)

// newFairListener shares limit connections of l.
func newFairListener(l net.Listener, limit int, crowded func(from netip.Prefix, isFull bool)) *fairListener {
	return &fairListener{
		Listener: l, limit: limit, share: max(limit/sharesOfLimit, 1), crowded: crowded, refuse: rate.NewLimiter(refusalsPerSecond, refusalsPerSecond/10),
	}
}

// Accept returns the next connection. It may close another one for it, or skip connections of an address that has its share.
func (l *fairListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &fairConn{Conn: conn, listener: l, from: clientOf(conn.RemoteAddr())}
		closed := l.admit(c)
		if closed == nil {
			return c, nil
		}
		_ = closed.Conn.Close() // an error means that the client has closed it
		_ = l.refuse.Wait(context.Background())
		if closed != c {
			return c, nil
		}
	}
}

// clientOf returns the addresses that count as one client: an IPv4 address, or the /64 of an IPv6 address, which one host can
// have as a whole. A link-local address, whose /64 all hosts of a link share, stands for itself.
func clientOf(remote net.Addr) netip.Prefix {
	at, err := netip.ParseAddrPort(remote.String())
	if err != nil {
		return netip.Prefix{} // not of TCP
	}
	addr := at.Addr().Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() && !addr.IsLinkLocalUnicast() {
		bits = 64
	}
	return netip.PrefixFrom(addr, bits).Masked()
}

// admit adds c, and returns the connection to close for it: nil, one that it has removed, or c if c was not added.
func (l *fairListener) admit(c *fairConn) *fairConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := make(map[netip.Prefix]int)
	for _, o := range l.open {
		of[o.from]++
	}
	isFull := len(l.open) >= l.limit
	var victim *fairConn
	switch mine := of[c.from]; {
	case mine >= l.share:
		victim = l.choose(func(o *fairConn) bool { return o.from == c.from && !o.answers }, of)
	case isFull:
		// A client may end a connection without a request of one that has as many, and an answer of one that keeps more.
		victim = l.choose(func(o *fairConn) bool {
			return !o.answers && of[o.from] >= mine || of[o.from] > mine+1
		}, of)
	default:
		l.open = append(l.open, c)
		return nil
	}
	if now := time.Now(); l.reported.IsZero() || now.Sub(l.reported) >= time.Minute {
		l.reported = now
		from := c.from
		if isFull && victim != nil {
			from = victim.from
		}
		go l.crowded(from, isFull) // it may wait for the reaper
	}
	if victim == nil {
		return c
	}
	l.remove(victim)
	l.open = append(l.open, c)
	return victim
}

// choose returns the first of the connections that may be closed: of the address with the most, without a complete request, and the
// oldest; nil if none may be closed.
func (l *fairListener) choose(may func(*fairConn) bool, of map[netip.Prefix]int) *fairConn {
	var victim *fairConn
	rank := func(c *fairConn) int { // the higher, the sooner closed
		if c.answers {
			return 2 * of[c.from]
		}
		return 2*of[c.from] + 1
	}
	for _, c := range l.open {
		if may(c) && (victim == nil || rank(c) > rank(victim)) {
			victim = c
		}
	}
	return victim
}

// remove forgets a connection that is closed. The caller holds the lock.
func (l *fairListener) remove(c *fairConn) {
	l.open = slices.DeleteFunc(l.open, func(o *fairConn) bool { return o == c })
}

// Close closes the connection, which then counts no more.
func (c *fairConn) Close() error {
	c.listener.mu.Lock()
	c.listener.remove(c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// fairConnKey is the key of a request's connection in its context.
type fairConnKey struct{}

// attach has srv mark the connections of a fairListener whose request is complete.
func (l *fairListener) attach(srv *http.Server) {
	srv.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, fairConnKey{}, conn)
	}
	next := srv.Handler
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(fairConnKey{}).(*fairConn); ok {
			l.mu.Lock()
			c.answers = true
			l.mu.Unlock()
		}
		next.ServeHTTP(w, r)
	})
}
