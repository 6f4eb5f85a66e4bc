// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag

import (
	"errors"
	"net"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
)

func TestAnAnswerLongerThanItsSlotIsAnError(t *testing.T) {
	ns := nstest.New(t)
	c, _ := openWithSocket(t, ns)
	p := ns.Connect(t, nstest.IPv4)
	ids, err := allIDs(c)
	if err != nil {
		t.Fatal(err)
	}
	gone := ids[0]
	gone.sockid[offCookie]++
	c.slots = newSlots(64) // an error fits, a socket does not
	got, err := pipelines["look up"](c, []ID{gone, gone, ids[0], gone})
	if !errors.Is(err, unix.EMSGSIZE) || len(got) != 2 || !errors.Is(got[0], ErrGone) || !errors.Is(got[1], ErrGone) {
		t.Fatalf("got %v and %v, want twice ErrGone and then %v", got, err, unix.EMSGSIZE)
	}
	if err := c.Destroy(ids[0]); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("next use: %v, want the same error", err)
	}
	if _, err := p.Client.Write([]byte("x")); err != nil {
		t.Errorf("the connection should survive: %v", err)
	}
}

func TestAPipelineWithoutAnswersFails(t *testing.T) {
	_, s := openWithSocket(t, nstest.New(t))
	err := s.receiveMany(newSlots(64), slotCount)
	if !errors.Is(err, errNoAnswer) || !errors.Is(err, unix.EAGAIN) {
		t.Errorf("got %v, want %v", err, errNoAnswer)
	}
}

func TestAPipelineIgnoresDatagramsOfOtherProcesses(t *testing.T) {
	c, missing, client, forge := newForger(t)
	missing.sockid[offCookie]++
	many := make([]ID, slotCount+3)
	for i := range many {
		many[i] = missing
	}
	for _, forged := range []int{1, slotCount - 1, slotCount, 2*slotCount + 1} {
		for i := range forged {
			forge(c.seq + 1 + uint32(i))
		}
		got, err := pipelines["destroy"](c, many)
		if err != nil || len(got) != len(many) {
			t.Fatalf("%d forged: %v, %v", forged, got, err)
		}
		for i, err := range got {
			if !errors.Is(err, ErrGone) {
				t.Errorf("%d forged: index %d: %v, want the kernel's %v", forged, i, err, ErrGone)
			}
		}
	}
	if _, err := client.Write([]byte("x")); err != nil {
		t.Errorf("the connection should survive: %v", err)
	}
}

// setKeys sets n TCP_MD5SIG keys on a socket, for peers that do not exist.
func setKeys(t *testing.T, conn *net.TCPConn, n int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	cerr := raw.Control(func(fd uintptr) {
		for i := range n {
			key := unix.TCPMD5Sig{Keylen: 1}
			// A struct sockaddr_in.
			key.Addr.Family = unix.AF_INET
			copy(key.Addr.Data[2:], []byte{100, 64, byte(i >> 8), byte(i)})
			if err = unix.SetsockoptTCPMD5Sig(int(fd), unix.IPPROTO_TCP, unix.TCP_MD5SIG, &key); err != nil {
				return
			}
		}
	})
	switch {
	case cerr != nil:
		t.Fatal(cerr)
	case errors.Is(err, unix.ENOPROTOOPT):
		t.Skip("the kernel was built without CONFIG_TCP_MD5SIG")
	case err != nil:
		t.Fatal(err)
	}
}

// TestManyKeysDoNotBreakAPipeline: an application can make the kernel's answer about its sockets long.
func TestManyKeysDoNotBreakAPipeline(t *testing.T) {
	ns := nstest.New(t)
	c, s := openWithSocket(t, ns)
	for range 3 {
		p := ns.Connect(t, nstest.IPv4)
		setKeys(t, p.Client, 60)
	}
	ids, err := allIDs(c)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := pipelines["look up"](c, ids); err != nil || len(got) < 6 || errors.Join(got...) != nil {
			t.Fatalf("got %v and %v", got, err)
		}
	}
	long := 0
	for i := range ids {
		if err := s.send(appendLookup(nil, 1, &ids[i])); err != nil {
			t.Fatal(err)
		}
		n, err := s.receive(make([]byte, recvSize))
		if err != nil {
			t.Fatal(err)
		}
		long = max(long, n)
	}
	if long < 60*100 {
		t.Errorf("the longest answer has %d bytes, without the keys", long)
	}
}

func TestConcurrentConnsDoNotShareAnswers(t *testing.T) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for range 4 {
		ns := nstest.New(t)
		for range 20 {
			ns.Connect(t, nstest.IPv4)
		}
		first, _ := openWithSocket(t, ns)
		ids, err := allIDs(first)
		if err != nil {
			t.Fatal(err)
		}
		conns := []*Conn{first}
		for range 20 {
			c, _ := openWithSocket(t, ns)
			conns = append(conns, c)
		}
		wg.Go(func() {
			for _, c := range conns {
				if got, err := pipelines["look up"](c, ids); err != nil || len(got) != len(ids) || errors.Join(got...) != nil {
					t.Errorf("got %v and %v", got, err)
				}
			}
		})
	}
}
