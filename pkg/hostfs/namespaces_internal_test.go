// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package hostfs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNamespaceInodeIsThatOfTheNamespacesFile(t *testing.T) {
	for _, kind := range []string{"net", "pid", "user", "mnt"} {
		link := filepath.Join("/proc/self/ns", kind)
		var stat unix.Stat_t
		if err := unix.Stat(link, &stat); err != nil {
			t.Fatal(err)
		}
		if got := NamespaceInode(link); got != stat.Ino {
			t.Errorf("%s has inode %d, want %d", link, got, stat.Ino)
		}
	}
	other := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("elsewhere", other); err != nil {
		t.Fatal(err)
	}
	if got := NamespaceInode(other); got != 0 {
		t.Errorf("a link to a file has inode %d", got)
	}
	if got := NamespaceInode("/proc/self/ns/absent"); got != 0 {
		t.Errorf("a namespace that does not exist has inode %d", got)
	}
}

func FuzzInode(f *testing.F) {
	for _, target := range []string{"mnt:[4026531832]", "net:[18446744073709551616]", "net:[]", ":[1]]", "", "/run/netns/pod"} {
		f.Add(target, uint64(InitialPIDNS))
	}
	f.Fuzz(func(t *testing.T, target string, n uint64) {
		inode(target)
		if got := inode(fmt.Sprintf("net:[%d]", n)); got != n {
			t.Errorf("got %d, want %d", got, n)
		}
	})
}

func FuzzMountID(f *testing.F) {
	f.Add("flags:\t012000000\n", uint16(29))
	f.Add("mnt_id:\t", uint16(1))
	f.Fuzz(func(t *testing.T, text string, n uint16) {
		mountID(text)
		if got := mountID(fmt.Sprintf("pos:\t0\nmnt_id:\t%d\n%s", n, text)); got != int(n) {
			t.Errorf("got %d, want %d", got, n)
		}
	})
}
