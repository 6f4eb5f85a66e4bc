// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

// withFinder has a node use the named finder.
func withFinder(tb testing.TB, name string) func(*reaper.Config) {
	return func(c *reaper.Config) {
		clock, err := monotime.System()
		if err != nil {
			tb.Fatal(err)
		}
		b, err := finder.Select(name, func() (*finder.Loader, error) { return finder.LoadPrograms(1 << 12) },
			finder.Config{Root: c.Root, Clock: clock, CPUBudget: 1})
		if errors.Is(err, unix.EPERM) {
			nstest.NeedPrivilege(tb, "load BPF programs", err)
		}
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() {
			if err := b.Close(); err != nil {
				tb.Error(err)
			}
		})
		c.Finder, c.Clock = b.Finder, clock
	}
}

// TestAQuestionShowsTheSocketsOfNow has graces with which the finder reads the namespace once a minute.
func TestAQuestionShowsTheSocketsOfNow(t *testing.T) {
	for _, name := range []string{finder.NameSockDiag, finder.NameBPF} {
		t.Run(name, func(t *testing.T) {
			ns := nstest.New(t)
			n := newNode(t, withFinder(t, name))
			n.register(ns, state.Pod{Namespace: "shop", Name: "web-1"}, grace(time.Hour, time.Hour, func(p *policy.Policy) { p.ProbeAfter = policy.Never }))
			nstest.Eventually(t, patience, "the namespace has been read", func() bool {
				s, err := n.Status(t.Context())
				return err == nil && len(s.Attachments) == 1 && s.Attachments[0].Swept != nil
			})
			for question, shows := range map[string]func(port string, sockets int) bool{
				"sockets": func(port string, _ int) bool {
					list, err := n.Sockets(t.Context(), api.SocketQuery{})
					if err != nil || list.Stale != 0 {
						t.Errorf("stale by %v: %v", list.Stale, err)
					}
					for _, v := range list.Sockets {
						if v.State.String() == "CLOSE_WAIT" && strings.HasSuffix(v.Peer, ":"+port) {
							return true
						}
					}
					return false
				},
				"status": func(_ string, sockets int) bool {
					s, err := n.Status(t.Context())
					if err != nil || s.Finder.Stale != 0 {
						t.Errorf("stale by %v: %v", s.Finder.Stale, err)
					}
					return s.Candidates["CLOSE_WAIT"] == sockets
				},
				"scrape": func(_ string, sockets int) bool {
					text := n.get("/metrics").body
					return strings.Contains(text, "\nhalfclose_sockets{namespace=\"shop\",state=\"CLOSE_WAIT\"} "+string(rune('0'+sockets))+"\n")
				},
			} {
				list, err := n.Sockets(t.Context(), api.SocketQuery{All: true})
				if err != nil {
					t.Fatal(err)
				}
				before := 0
				for _, v := range list.Sockets {
					if v.State.String() == "CLOSE_WAIT" {
						before++
					}
				}
				p := shut(t, ns)
				awaitCloseWait(t, p.Server)
				_, port, err := net.SplitHostPort(p.Client.LocalAddr().String())
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				nstest.Eventually(t, patience, "less time than a refresh is shared has passed", func() bool { return time.Since(began) > 60*time.Millisecond })
				if !shows(port, before+1) {
					t.Errorf("%s does not show a socket that is half-closed", question)
				}
			}
		})
	}
}

// awaitCloseWait waits until the kernel has processed the peer's FIN.
func awaitCloseWait(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	const closeWait = 8
	nstest.Eventually(t, patience, "the server's end is in CLOSE_WAIT", func() (is bool) {
		err := raw.Control(func(fd uintptr) {
			info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
			is = err == nil && info.State == closeWait
		})
		return err == nil && is
	})
}
