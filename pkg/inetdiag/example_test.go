// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag_test

import (
	"errors"
	"fmt"
	"log"
	"net"
	"runtime"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/halfclose/halfclose/internal/thread"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// List the half-closed sockets of a network namespace.
func ExampleConn_Dump() {
	inFreshNamespace(func(server, client *net.TCPConn) {
		halfClosed(client) // the server does not close: it is in CLOSE_WAIT, the client in FIN_WAIT2

		c, err := inetdiag.Open()
		if err != nil {
			log.Fatal(err)
		}
		defer c.Close()
		filter := inetdiag.Filter{States: inetdiag.HalfClosed, Info: true}
		err = c.Dump(filter, func(s *inetdiag.Socket) error {
			fmt.Println(s.State, s.ID.Local(), s.ID.Peer(), "unread", s.RQueue, "owned", s.Inode != 0)
			return nil
		})
		if err != nil {
			log.Fatal(err)
		}
	})
	// Unordered output:
	// CLOSE_WAIT 127.0.0.1:8080 127.0.0.1:50000 unread 1 owned true
	// FIN_WAIT2 127.0.0.1:50000 127.0.0.1:8080 unread 0 owned true
}

// Destroy one socket, by its cookie, if its state is still the same.
func ExampleConn_Destroy() {
	inFreshNamespace(func(server, client *net.TCPConn) {
		halfClosed(client)

		c, err := inetdiag.Open()
		if err != nil {
			log.Fatal(err)
		}
		defer c.Close()
		var id inetdiag.ID
		err = c.Dump(inetdiag.Filter{States: 1 << inetdiag.CloseWait}, func(s *inetdiag.Socket) error {
			id = s.ID
			return nil
		})
		if err != nil {
			log.Fatal(err)
		}

		// The state may have changed since the dump: look the socket up and destroy it at once.
		s, err := c.Lookup(id)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("found in", s.State)
		if s.State == inetdiag.CloseWait {
			fmt.Println("destroyed:", c.Destroy(id))
		}
		fmt.Println("once more:", c.Destroy(id))

		_, err = client.Read(make([]byte, 1))
		fmt.Println("its peer was reset:", errors.Is(err, syscall.ECONNRESET))
	})
	// Output:
	// found in CLOSE_WAIT
	// destroyed: <nil>
	// once more: socket is gone (ENOENT)
	// its peer was reset: true
}

// Destroy many sockets with few system calls.
func ExampleConn_DestroyAll() {
	inFreshNamespace(func(server, client *net.TCPConn) {
		halfClosed(client)

		c, err := inetdiag.Open()
		if err != nil {
			log.Fatal(err)
		}
		defer c.Close()
		var ids []inetdiag.ID
		err = c.Dump(inetdiag.Filter{States: 1 << inetdiag.CloseWait}, func(s *inetdiag.Socket) error {
			ids = append(ids, s.ID)
			return nil
		})
		if err != nil {
			log.Fatal(err)
		}

		destroyed, gone := 0, 0
		err = c.DestroyAll(ids, nil, func(i int, err error) {
			switch {
			case err == nil:
				destroyed++
			case errors.Is(err, inetdiag.ErrGone):
				gone++
			default:
				log.Print(ids[i], ": ", err)
			}
		})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(destroyed, "destroyed,", gone, "gone")
	})
	// Output: 1 destroyed, 0 gone
}

// Find out what this kernel and these privileges allow.
func ExampleProbe() {
	inFreshNamespace(func(_, _ *net.TCPConn) {
		switch err := inetdiag.Probe(); {
		case errors.Is(err, inetdiag.ErrUnsupported), errors.Is(err, inetdiag.ErrDenied):
			fmt.Println("can only watch:", err)
		case err != nil:
			fmt.Println("do not know:", err)
		default:
			fmt.Println("can destroy sockets")
		}
	})
	// Output: can destroy sockets
}

// inFreshNamespace calls fn in a new network namespace in which 127.0.0.1:50000 is connected to
// 127.0.0.1:8080.
func inFreshNamespace(fn func(server, client *net.TCPConn)) {
	thread.Discard(func() {
		ns, err := netns.New()
		if err != nil {
			log.Fatalf("make a network namespace: %v: run as root, or under unshare -rmn", err)
		}
		defer ns.Close()
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			log.Fatal(err)
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			log.Fatal(err)
		}
		server, client := connect()
		defer server.Close()
		defer client.Close()
		fn(server, client)
	})
}

func connect() (server, client *net.TCPConn) {
	at := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}
	from := &net.TCPAddr{IP: at.IP, Port: 50000}
	l, err := net.ListenTCP("tcp4", at)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	d := net.Dialer{LocalAddr: from, Timeout: 10 * time.Second}
	conn, err := d.Dial("tcp4", at.String())
	if err != nil {
		log.Fatal(err)
	}
	server, err = l.AcceptTCP()
	if err != nil {
		log.Fatal(err)
	}
	return server, conn.(*net.TCPConn)
}

// halfClosed closes the client's sending direction and waits for the acknowledgement.
func halfClosed(client *net.TCPConn) {
	if err := client.CloseWrite(); err != nil {
		log.Fatal(err)
	}
	c, err := inetdiag.Open()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for found, end := false, time.Now().Add(10*time.Second); !found; runtime.Gosched() {
		if time.Now().After(end) {
			log.Fatal("the FIN was not acknowledged")
		}
		err := c.Dump(inetdiag.Filter{States: 1 << inetdiag.FinWait2}, func(*inetdiag.Socket) error {
			found = true
			return nil
		})
		if err != nil {
			log.Fatal(err)
		}
	}
}
