// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// running is the status of the reaper.
type running struct {
	status   api.Status
	err      error
	denied   bool // the socket belongs to another user
	timedOut bool
}

func askReaper(ctx context.Context, socket string) running {
	var r running
	r.status, r.err = admin.NewClient(socket).Status(ctx)
	if r.err != nil {
		r.timedOut = ctx.Err() != nil
		r.denied = errors.Is(unix.Faccessat(unix.AT_FDCWD, socket, unix.W_OK, unix.AT_EACCESS), unix.EACCES)
	}
	return r
}

// reportReaper reports whether a reaper works and keeps up. records is the number of records that it can act on.
func reportReaper(r running, records int) []Finding {
	if r.err != nil {
		return []Finding{reportNoReaper(r, records)}
	}
	s := r.status
	all := []Finding{{Check: "reaper", What: fmt.Sprintf("a reaper runs (%s) with %s", s.Holder, describe.Plural(s.Namespaces, "namespace", "namespaces"))}}
	warn := func(kind, what, do string) {
		all = append(all, Finding{ID: "reaper/" + kind, Check: "reaper", Level: Warn, What: what, Do: do})
	}
	if own := buildinfo.Get(); own.Version != s.Version.Version || own.Commit != s.Version.Commit {
		warn("version", fmt.Sprintf("it is %s, and this is %s", s.Version, own), "restart the reaper if this is the newer version: it takes over all records and tracked sockets")
	}
	if s.Finder.Why != "" {
		all = append(all, Finding{ID: "reaper/finder", Check: "reaper", Level: Info, What: "its finder is " + s.Finder.Name + ": " + s.Finder.Why, Do: "to reduce the cost, fix bpf and pid-namespace"})
	}
	if len(s.Finder.Crowded) > 0 {
		warn("crowded", "network namespaces with very many half-closed sockets are swept on their own, and their sockets are found later: "+describe.Crowded(s.Finder.Crowded),
			"find the leak with halfclose leaks; if that is normal, raise the reaper's --bpf-sockets")
	}
	if s.Finder.Late > 0 {
		warn("lag", fmt.Sprintf("sweeps are %s behind the schedule of the graces: destroys are late", describe.Age(s.Finder.Late)),
			"fix child-tables, or raise the reaper's --cpu-budget")
	}
	if n := s.Budget.Waiting; n > 0 {
		warn("rate-limit", fmt.Sprintf("%s for the rate limit of %d destroys per second", describe.Plural(n, "socket waits", "sockets wait"), s.Budget.PerSecond),
			"wait, or raise the reaper's --max-destroys-per-second; halfclose status shows which pod leaks")
	}
	if errs := s.Counts.Errors; len(errs) > 0 {
		var list []string
		for _, name := range slices.Sorted(maps.Keys(errs)) {
			list = append(list, fmt.Sprintf("%d with %s", errs[name], name))
		}
		warn("errors", "destroys were refused: "+strings.Join(list, ", "), "read the reaper's log for the sockets; for EPERM fix user-namespace")
	}
	return all
}

func reportNoReaper(r running, records int) Finding {
	f := Finding{Check: "reaper", Level: Warn}
	switch {
	case errors.Is(r.err, admin.ErrNotRunning) && records > 0:
		f.What = fmt.Sprintf("no reaper runs, and %s: their leaks stay", describe.Plural(records, "attachment is registered", "attachments are registered"))
		f.Do = "start one (systemctl start halfclose, or halfclose reaper), or let the plugin start one with the next container: \"reaper\": \"auto\" in its configuration"
	case errors.Is(r.err, admin.ErrNotRunning):
		f.Level, f.What = Info, "no reaper runs, and nothing is registered"
		f.Do = "nothing if the plugin starts one (\"reaper\": \"auto\"); otherwise start it: systemctl start halfclose, or halfclose reaper"
	case r.denied:
		f.What, f.Do = "cannot query the reaper: its socket is for its owner only", "run it as root"
	case r.timedOut:
		f.Level, f.What = Fail, "a reaper runs and does not answer"
		f.Do = "find out what it waits for (its log; /proc/PID/stack of the process that holds reaper.lock), and kill it if it hangs: the next one takes over its tracked sockets"
	default:
		f.What, f.Do = r.err.Error(), "read the reaper's log"
	}
	return f
}

// reportMode reports what caps the mode on this node: according to the reaper, or derived from the switch and the kernel
// if no reaper answered.
func reportMode(r running, s switchFile, d destroy) []Finding {
	view, caveat := r.status.Mode, ""
	switch {
	case r.err == nil:
	case errors.Is(s.err, fs.ErrPermission): // the reaper, as root, may read something else
		return []Finding{{
			Check: "mode", Level: Warn, What: "cannot determine what caps the mode: this user can read neither the reaper's status nor the switch", Do: "run it as root",
		}}
	default:
		view = expectedMode(s, d)
		caveat = " (without the reaper's --mode: no reaper answered)"
	}
	caps, scoped := view.Caps(policy.Destroy), api.SwitchReasons(view.Switches, policy.Destroy)
	if len(caps) == 0 && len(scoped) > 0 {
		const few = 5
		text := strings.Join(scoped[:min(few, len(scoped))], "; ")
		if more := len(scoped) - few; more > 0 {
			text += fmt.Sprintf("; and %d more", more)
		}
		return []Finding{{
			Check: "mode", Level: Info, What: "the mode is capped by " + text + caveat,
			Do: "nothing if that is intended; otherwise run halfclose mode destroy with the same --pod or --namespace",
		}}
	}
	if len(caps) == 0 {
		return []Finding{{Check: "mode", What: "nothing caps the mode: each record's policy applies" + caveat}}
	}
	var remedies []string
	for _, c := range caps {
		remedies = append(remedies, capRemedy(c))
	}
	return []Finding{{
		Check: "mode", Level: Info, What: "nothing is destroyed on this node: capped by " + strings.Join(view.CapReasons(policy.Destroy), "; ") + caveat,
		Do: "nothing if that is intended; otherwise " + strings.Join(remedies, ", and "),
	}}
}

// expectedMode returns the mode of a reaper without flags.
func expectedMode(s switchFile, d destroy) api.ModeView {
	view := api.ModeView{Reaper: policy.Destroy, Switch: s.now.Node, Switches: s.now.Scoped}
	if s.err != nil {
		view.SwitchProblem = s.err.Error()
	}
	if errors.Is(d.err, inetdiag.ErrUnsupported) {
		view.KernelProblem = d.err.Error()
	}
	return view
}

// capRemedy returns how to lift a cap.
func capRemedy(c api.Cap) string {
	switch c {
	case api.CapReaper:
		return "start the reaper without --mode and HALFCLOSE_MODE"
	case api.CapSwitch:
		return "run halfclose mode destroy"
	case api.CapSwitchUnreadable:
		return "fix switch"
	case api.CapKernel:
		return "fix sock-destroy"
	case api.CapNetns:
		return "fix netns-entry"
	}
	return "upgrade this command"
}
