// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

func TestWithoutCapabilitiesLookupsWorkAndDestroysDoNot(t *testing.T) {
	ns := nstest.New(t)
	p := ns.Connect(t, nstest.IPv4)
	halfClose(t, open(t, ns), p)
	cookie := cookieOf(t, p.Server)
	ns.Do(t, func() {
		nstest.KeepCapabilities(t)
		c, err := inetdiag.Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		s := dump(t, c, everything())[cookie]
		if !s.HasInfo || s.Inode == 0 {
			t.Errorf("the dump lacks fields: %+v", s)
		}
		if s, err = c.Lookup(s.ID); err != nil || !s.HasInfo {
			t.Errorf("look up: %v", err)
		}
		for name, err := range map[string]error{"destroy": c.Destroy(s.ID), "probe": inetdiag.Probe()} {
			if !errors.Is(err, inetdiag.ErrDenied) || !errors.Is(err, unix.EPERM) || !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s: %v, want %v", name, err, inetdiag.ErrDenied)
			}
			if err != nil && !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
				t.Errorf("%s: %q lacks the missing capability", name, err)
			}
		}
	})
	if _, err := p.Server.Write([]byte("x")); err != nil {
		t.Errorf("the socket should survive: %v", err)
	}
}

func TestDestroyNeedsOnlyCapNetAdmin(t *testing.T) {
	ns := nstest.New(t)
	p := ns.Connect(t, nstest.IPv4)
	id := socketOf(t, open(t, ns), p.Server).ID
	ns.Do(t, func() {
		nstest.KeepCapabilities(t, capability.CAP_NET_ADMIN)
		c, err := inetdiag.Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if err := c.Destroy(id); err != nil {
			t.Errorf("destroy: %v", err)
		}
		if err := inetdiag.Probe(); err != nil {
			t.Errorf("probe: %v", err)
		}
	})
}

func TestProbeLeavesNoSocket(t *testing.T) {
	ns := nstest.New(t)
	c := open(t, ns)
	ns.Do(t, func() {
		if err := inetdiag.Probe(); err != nil {
			t.Error(err)
		}
	})
	nstest.Eventually(t, patience, "nothing left", func() bool { return len(dump(t, c, everything())) == 0 })
}

func TestProbeReportsThatLoIsDown(t *testing.T) {
	ns := nstest.New(t)
	setLoopbackDown(t, ns)
	ns.Do(t, func() {
		err := inetdiag.Probe()
		if err == nil || !strings.Contains(err.Error(), "is lo up?") {
			t.Errorf("got %v, want an error with lo", err)
		}
	})
}
