// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
)

func TestAReaperIsCheckedForKeepingUp(t *testing.T) {
	good := api.Status{
		Version: buildinfo.Get(), Holder: api.Holder{PID: 42, StartedBy: api.BySystemd, Since: time.Unix(0, 0).UTC()},
		ReaperStatus: api.ReaperStatus{Namespaces: 250, Budget: api.BudgetView{PerSecond: 1000}},
	}
	runs := want{"reaper", OK, "a reaper runs (process 42, started by systemd at 1970-01-01T00:00:00Z) with 250 namespaces", ""}
	for _, tt := range []struct {
		name   string
		change func(*api.Status)
		wants  []want
	}{
		{"a good one", func(*api.Status) {}, []want{runs}},
		{"of another version", func(s *api.Status) { s.Version = buildinfo.Info{Version: "v0.0.1", Commit: "c"} }, []want{runs, {"reaper", Warn, "halfclose v0.0.1 (commit c", "restart"}}},
		{"one with late sweeps", func(s *api.Status) { s.Finder.Late = api.Seconds(90 * time.Second) }, []want{runs, {"reaper", Warn, "sweeps are 1m30s behind", "child-tables"}}},
		{"one at its rate limit", func(s *api.Status) { s.Budget.Waiting = 3 }, []want{runs, {"reaper", Warn, "3 sockets wait for the rate limit of 1000 destroys per second", "--max-destroys-per-second"}}},
		{"one that is refused", func(s *api.Status) { s.Counts.Errors = map[string]uint64{"EPERM": 2, "EIO": 1} }, []want{runs, {"reaper", Warn, "1 with EIO, 2 with EPERM", "log"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := good
			tt.change(&s)
			expect(t, reportReaper(running{status: s}, 0), tt.wants...)
		})
	}
}

func TestAReaperThatDoesNotAnswerIsReportedWithTheReason(t *testing.T) {
	notRunning := fmt.Errorf("%w: nothing listens", admin.ErrNotRunning)
	for _, tt := range []struct {
		name    string
		r       running
		records int
		want    want
	}{
		{"none without records", running{err: notRunning}, 0, want{"reaper", Info, "no reaper runs, and nothing is registered", "systemctl start halfclose"}},
		{"none with records", running{err: notRunning}, 2, want{"reaper", Warn, "no reaper runs, and 2 attachments are registered: their leaks stay", "halfclose reaper"}},
		{"of another user", running{err: errors.New("belongs to another user"), denied: true}, 0, want{"reaper", Warn, "for its owner only", "as root"}},
		{"one that hangs", running{err: errors.New("timeout"), timedOut: true}, 0, want{"reaper", Fail, "does not answer", "kill it if it hangs"}},
		{"another error", running{err: errors.New("reaper returned an error: no")}, 0, want{"reaper", Warn, "reaper returned an error: no", "log"}},
	} {
		t.Run(tt.name, func(t *testing.T) { expect(t, reportReaper(tt.r, tt.records), tt.want) })
	}
}
