// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
)

// running is what the reaper says of itself.
type running struct {
	status api.Status
	err    error
	denied bool // its socket is another user's
	stuck  bool // it did not answer in time
}

func askReaper(ctx context.Context, socket string) running {
	var r running
	r.status, r.err = admin.NewClient(socket).Status(ctx)
	if r.err != nil {
		r.stuck = ctx.Err() != nil
		r.denied = errors.Is(unix.Faccessat(unix.AT_FDCWD, socket, unix.W_OK, unix.AT_EACCESS), unix.EACCES)
	}
	return r
}

// judgeReaper says whether a reaper works and keeps up. It is told how many records there are for it.
func judgeReaper(r running, records int) []Finding {
	if r.err != nil {
		return []Finding{judgeNoReaper(r, records)}
	}
	s := r.status
	all := []Finding{{Check: "reaper", What: fmt.Sprintf("it runs (%s) and looks after %s", s.Holder, count(s.Namespaces, "namespace"))}}
	add := func(what, do string) {
		all = append(all, Finding{Check: "reaper", Level: Warn, What: what, Do: do})
	}
	if own := buildinfo.Get(); own.Version != s.Version.Version || own.Commit != s.Version.Commit {
		add(fmt.Sprintf("it is %s, and this is %s", s.Version, own), "restart the reaper, if this is the newer one: its records and candidates are taken over")
	}
	if s.Finder.Why != "" {
		all = append(all, Finding{Check: "reaper", Level: Info, What: "its finder is " + s.Finder.Name + ": " + s.Finder.Why, Do: "see bpf and pid-namespace, if sweeping should cost less"})
	}
	if s.Finder.Late > 0 {
		add(fmt.Sprintf("sweeping lags %v behind what the graces ask for: half-closed sockets are destroyed late", rounded(time.Duration(s.Finder.Late))),
			"see child-tables, or raise the reaper's --cpu-budget")
	}
	if n := s.Budget.Waiting; n > 0 {
		add(fmt.Sprintf("%s for the budget of %d destroys a second", count(n, "socket waits", "sockets wait"), s.Budget.PerSecond),
			"wait, or raise the reaper's --max-destroys-per-second; halfclose status shows which pod leaks")
	}
	if errs := s.Counts.Errors; len(errs) > 0 {
		var list []string
		for _, name := range slices.Sorted(maps.Keys(errs)) {
			list = append(list, fmt.Sprintf("%d with %s", errs[name], name))
		}
		add("destroys were refused: "+strings.Join(list, ", "), "see the reaper's log, which says for which sockets; EPERM: see user-namespace")
	}
	return all
}

func judgeNoReaper(r running, records int) Finding {
	f := Finding{Check: "reaper", Level: Warn}
	switch {
	case errors.Is(r.err, admin.ErrNotRunning) && records > 0:
		f.What = fmt.Sprintf("none runs, and %s: nothing is done for them", count(records, "attachment is registered", "attachments are registered"))
		f.Do = "start one (systemctl start halfclose, or halfclose reaper), or let the plugin start one with the next container: \"reaper\": \"auto\" in its configuration"
	case errors.Is(r.err, admin.ErrNotRunning):
		f.Level, f.What = Info, "none runs, and nothing is registered that it could look after"
		f.Do = "nothing where the plugin starts one (\"reaper\": \"auto\"); else start it: systemctl start halfclose, or halfclose reaper"
	case r.denied:
		f.What, f.Do = "whether one runs cannot be asked: its socket is for its owner alone", "run it as root"
	case r.stuck:
		f.Level, f.What = Fail, "one runs and does not answer"
		f.Do = "see what it waits for (its log; /proc/PID/stack of the process that holds reaper.lock), and end it if it is stuck: the next takes over what it knew"
	default:
		f.What, f.Do = r.err.Error(), "see the reaper's log"
	}
	return f
}

// count says how many: "1 record", "2 records", or in other words than that.
func count(n int, one string, many ...string) string {
	switch {
	case n == 1:
		return "1 " + one
	case len(many) > 0:
		return fmt.Sprintf("%d %s", n, many[0])
	}
	return fmt.Sprintf("%d %ss", n, one)
}
