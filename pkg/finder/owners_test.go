// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder_test

import (
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/owners"
)

func TestOwnersHaveTheDescriptorOfTheSocket(t *testing.T) {
	for _, name := range []string{finder.NameSockDiag, finder.NameBPF} {
		t.Run(name, func(t *testing.T) {
			b, _ := selectFinder(t, name)
			ns := nstest.New(t)
			inode, fd := descriptorOf(t, ns.Connect(t, nstest.IPv4).Client)
			q := owners.Query{
				Inodes: map[uint32]struct{}{inode: {}}, Netns: map[uint64]struct{}{target(t, ns).Identity.Inode: {}}, Descriptors: true,
			}
			found, err := b.Owners.Find(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			me := os.Getpid()
			if list := found[inode]; len(list) != 1 || list[0].PID != me || list[0].TID != me || list[0].FD != fd {
				t.Errorf("owners %+v, want descriptor %d of process %d", list, fd, me)
			}
		})
	}
}

// descriptorOf returns the inode and the descriptor of a socket.
func descriptorOf(t *testing.T, conn *net.TCPConn) (inode uint32, descriptor int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { inode, descriptor = inodeOf(t, int(fd)), int(fd) }); err != nil {
		t.Fatal(err)
	}
	return inode, descriptor
}

func inodeOf(t *testing.T, fd int) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return uint32(st.Ino)
}
