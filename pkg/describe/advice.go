// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package describe

import (
	"fmt"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/state"
)

// Advice describes a finding in words, and what to do about it. Neither text is safe to show.
func (f Finding) Advice() (what, todo string) {
	switch f.Kind {
	case SwitchUnreadable:
		return f.Text, `set the switch again with "halfclose mode observe" or "halfclose mode destroy"`
	case PolicyFileWrong:
		return f.Text, policyFileAdvice(f.IsLastGood)
	case Unregistered:
		return NothingRegistered(f.Adoption)
	case KernelRefuses:
		return "no socket can be destroyed here: " + f.Text, `run "halfclose doctor": it reports what this kernel and these privileges allow`
	case Refused:
		return Refusal(*f.Refusal), f.Refusal.Do
	case AskingSuspended:
		return fmt.Sprintf("no peer is asked: %s blocked in closing a duplicate of a file descriptor", Plural(f.Count, "thread is", "threads are")),
			"asking resumes when fewer threads are blocked; a socket with SO_LINGER and an unreachable peer blocks them until its linger time is over"
	case AskedLost:
		return fmt.Sprintf("%s may still have keepalive options that the reaper set: no file descriptor leads to %s",
				Plural(f.Count, "socket", "sockets"), map[bool]string{true: "it", false: "them"}[f.Count == 1]),
			"nothing, unless their programs are running and rely on keepalive: restart these"
	case AskedUnreadable:
		return fmt.Sprintf("cannot read %s of sockets that an earlier reaper asked about: these sockets keep the keepalive options that it set", Plural(f.Count, "record", "records")),
			"find the records in the reaper's log, and restart the programs that rely on keepalive"
	case Unwritable:
		return f.Unwritable.Problem + ", since " + f.Unwritable.Since.Local().Format(time.RFC3339), unwritableTodo(f.Unwritable)
	case HistoryLost:
		return Plural(f.Count, "line", "lines") + " of the history could not be written", "see the reaper's log for the reason: a full disk, or one that is too slow"
	case HistoryDamaged:
		return "the history was damaged: " + f.Text, "nothing: a new segment was started; what was lost cannot be restored"
	case DescriptorsHeld:
		return Held(f.Holder), "restart it: only the process can close their descriptors, and it does not"
	case MoreDescriptorsHeld:
		return fmt.Sprintf("%s more are held by %s", f.Text, Plural(f.Count, "other process", "other processes")),
			`"halfclose status -o json" lists up to 100 processes`
	case NearFileLimit:
		u := f.Files
		return fmt.Sprintf("%s%s has %d of at most %d file descriptors open", u.Process, ofPod(u.Pod), u.Open, u.Limit),
			"restart it, or raise its limit on open files (RLIMIT_NOFILE): beyond it no connection can be opened or accepted"
	case Unreachable:
		return "cannot be entered, so its sockets can be neither listed nor destroyed: " + f.Text,
			`the reaper retries every 10s; "halfclose doctor" tries too, and reports what to grant`
	case FinderLate:
		return "sweeps are " + f.Text + " behind schedule, so destroys will be late", "if this lasts, raise the reaper's --cpu-budget"
	case BudgetWaiting:
		return fmt.Sprintf("%s past the grace for --max-destroys-per-second %s", Plural(f.Count, "socket waits", "sockets wait"), f.Text),
			"if this lasts, raise it"
	case DestroysRefused:
		return fmt.Sprintf("the kernel refused to destroy with %s, %s", f.Text, Plural(f.Count, "time", "times")), refusedTodo(f.Text)
	case Inert:
		return "inert, its sockets are left alone: " + f.Text,
			"if the container is gone, nothing: its record is removed within ten minutes; if it is running, recreate it"
	case SweepFailed:
		return f.Text, "the reaper retries; if this lasts, see its log"
	case Blocked:
		return "only observed, because a file names its network namespace: " + f.Text,
			"the file may hold a more conservative policy than the other records: delete it if its attachment is gone, else recreate the pod"
	case ModeCapped:
		return fmt.Sprintf("capped at %v by %s; the policy is %v", f.Attachment.Mode, f.Text, f.Attachment.Policy.Mode),
			`"halfclose mode" shows and sets the mode of this node`
	case NotARecord:
		return f.Text, "delete the file if its pod is gone, else recreate the pod"
	case Warned:
		if strings.HasPrefix(f.Text, state.WarnNoReaper) {
			return "when it was registered: " + f.Text, `nothing for this attachment: a reaper is running now; "halfclose doctor" reports whether ADD can start one`
		}
	}
	return f.Text, "correct the annotation or the network configuration, and recreate the pod: an attachment keeps its policy"
}

func refusedTodo(errno string) string {
	switch errno {
	case "EPERM", "EACCES":
		return "grant the reaper CAP_NET_ADMIN in the user namespace that owns the pod's network namespace"
	case "EOPNOTSUPP":
		return "use a kernel with CONFIG_INET_DIAG_DESTROY"
	}
	return "see the reaper's log"
}
