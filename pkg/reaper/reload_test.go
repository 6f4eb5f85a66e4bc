// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/outputtest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// No event announces any of these changes: without a reload the reaper finds them within 30 s.
func TestReloadFindsUnannouncedChangesAtOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, n *node, r state.Record)
		want   func(api.ReaperStatus) bool
	}{
		{"records in a directory that has taken the place of the one before", func(t *testing.T, n *node, r state.Record) {
			if err := os.Rename(n.store.AttachmentsDir(), n.store.Dir()+"/before"); err != nil {
				t.Fatal(err)
			}
			nstest.Eventually(t, patience, "that directory is known to be gone", func() bool { return len(n.status().Attachments) == 0 })
			put(t, n, r)
		}, func(s api.ReaperStatus) bool { return len(s.Attachments) == 1 && s.Attachments[0].Inert == "" }},
		{
			"the end of a namespace", func(t *testing.T, _ *node, r state.Record) {
				if err := os.Remove(r.Netns.Path); err != nil {
					t.Fatal(err)
				}
			},
			func(s api.ReaperStatus) bool { return len(s.Attachments) == 1 && s.Attachments[0].Inert != "" },
		},
		{"a switch that was edited in place, and its time set back", func(t *testing.T, n *node, _ state.Record) {
			before, err := os.Stat(n.switchPath)
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(n.switchPath)
			if err != nil {
				t.Fatal(err)
			}
			b = bytes.ReplaceAll(b, []byte(policy.Destroy.String()), []byte(policy.Observe.String())) // of the same length
			if err := os.WriteFile(n.switchPath, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(n.switchPath, before.ModTime(), before.ModTime()); err != nil {
				t.Fatal(err)
			}
		}, func(s api.ReaperStatus) bool { return s.Mode.Effective == policy.Observe && len(s.Attachments) == 1 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ns := newNS(t)
			n := offNode(t)
			n.turn(policy.Destroy)
			r := n.record(ns, timing(inetdiag.CloseWait, longGrace))
			r.Netns.Path = filepath.Join(t.TempDir(), "netns") // a path that the test can remove
			if err := os.Symlink(ns.Path(), r.Netns.Path); err != nil {
				t.Fatal(err)
			}
			put(t, n, r)
			n.start("sockdiag")
			n.awaitMode(policy.Destroy)
			nstest.Eventually(t, patience, "it is ready", func() bool { return n.Ready(t.Context()) == nil })

			tt.change(t, n, r)
			if err := n.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			if s := n.status(); !tt.want(s) {
				t.Errorf("the status is %+v", s)
			}
		})
	}
}

// put writes a record.
func put(t *testing.T, n *node, r state.Record) {
	t.Helper()
	if err := n.store.Put(r); err != nil {
		t.Fatal(err)
	}
}

func TestReloadLogsTheNumberOfRecords(t *testing.T) {
	t.Parallel()
	ns := newNS(t)
	var b outputtest.Buffer
	n := newNode(t, "sockdiag", logTo(t, &b))
	n.register(ns, timing(inetdiag.CloseWait, longGrace))
	if err := n.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	const want = "attachments=1 inert=0 problems=0 mode=destroy\n"
	if log := b.String(); !strings.Contains(log, want) {
		t.Errorf("the log has no %q:\n%s", want, log)
	}
}

func TestReloadReturnsIfTheReaperHasStopped(t *testing.T) {
	t.Parallel()
	n := newNode(t, "sockdiag")
	nstest.Eventually(t, patience, "it is ready", func() bool { return n.Ready(t.Context()) == nil })
	late, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	if err := n.Reload(late); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with no time left: %v", err)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	if err := n.Reload(t.Context()); !errors.Is(err, api.ErrStopped) {
		t.Errorf("at its end: %v", err)
	}
}
