// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder_test

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
)

func TestIsRefusedDistinguishesARefusalFromAMissingNamespace(t *testing.T) {
	root, err := netns.NewRoot("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	opener, n := finder.Opener{Root: root}, target(t, nstest.New(t))
	conn, err := opener.Open(n)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	n.Paths = []string{"/run/netns/there-is-none-of-this-name"}
	if _, err := opener.Open(n); err == nil || finder.IsRefused(err) || !netns.IsGone(err) {
		t.Errorf("a missing path: %v", err)
	}
	for name, err := range map[string]error{
		"no CAP_SYS_ADMIN":   &netns.EnterError{Err: unix.EPERM},
		"setns refused":      &netns.EnterError{Err: unix.EPERM, Held: true},
		"no CAP_SYS_PTRACE":  unix.EACCES,
		"AF_NETLINK refused": &inetdiag.OpenError{Err: unix.EAFNOSUPPORT},
		"no tcp_diag":        fmt.Errorf("open sock_diag: %w", inetdiag.ErrNoTCP),
	} {
		if !finder.IsRefused(err) || netns.IsGone(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"no sock_diag":       &inetdiag.OpenError{Err: unix.EPROTONOSUPPORT},
		"no descriptor left": &inetdiag.OpenError{Err: unix.EMFILE},
	} {
		if finder.IsRefused(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTryOpen(t *testing.T) {
	if err := finder.TryOpen(); finder.IsRefused(err) {
		nstest.NeedPrivilege(t, "enter a network namespace", err)
	} else if err != nil {
		t.Error(err)
	}
}

func TestWithoutACookieANamespaceMountedAfterItsRecordIsAnother(t *testing.T) {
	root, err := netns.NewRoot("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	point, ns := nstest.NewMountPoint(t), nstest.New(t)
	point.Mount(t, ns)
	n := target(t, ns)
	n.Identity.Cookie, n.Paths = 0, []string{point.Path}
	unmounted := n
	unmounted.Paths = []string{"/proc/self/ns/net"}
	own, err := netns.OpenOwn()
	if err != nil {
		t.Fatal(err)
	}
	unmounted.Identity = own.Stat()
	own.Close()
	for _, tt := range []struct {
		name     string
		n        finder.Netns
		recorded time.Time
		gone     bool
	}{
		{"recorded after the mount", n, time.Now().Add(time.Hour), false},
		{"recorded before the mount", n, time.Now().Add(-time.Hour), true},
		{"recorded at an unknown time", n, time.Time{}, false},
		{"at a path that is no mount", unmounted, time.Now().Add(-time.Hour), false},
	} {
		tt.n.Recorded = tt.recorded
		conn, err := finder.Opener{Root: root}.Open(tt.n)
		if (err != nil) != tt.gone || tt.gone != netns.IsGone(err) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if conn != nil {
			conn.Close()
		}
	}
}

func TestANamespaceWithoutAPathIsNotOpenedAndNotGone(t *testing.T) {
	root, err := netns.NewRoot("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	conn, err := finder.Opener{Root: root}.Open(finder.Netns{Identity: target(t, nstest.New(t)).Identity})
	if conn != nil || err == nil || netns.IsGone(err) {
		t.Errorf("opened: %t, %v", conn != nil, err)
	}
}
