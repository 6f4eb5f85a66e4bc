// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/thread"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/netns"
)

// tables is in which table of established connections the kernel keeps those of a new namespace, and what a
// walk over it costs: finding half-closed sockets by sock_diag is such a walk, for each namespace.
type tables struct {
	err error // why the walk could not be measured
	// child is net.ipv4.tcp_child_ehash_entries (Linux 6.1) where namespaces are made; -1 if there is none.
	child  int
	ofHost bool // child was read in the host's network namespace
	// fresh says that what follows is of a namespace made for it, as runtimes make them, not of this process's.
	fresh   bool
	buckets int           // of the table that it uses; 0 if not known
	sockets int           // TCP sockets of all namespaces together, as the kernel counts them
	walk    time.Duration // CPU time of a walk over that table
	// childWalk is that of a walk over a table of childBuckets: measured, else 0.
	childWalk time.Duration
}

const (
	childSetting  = "/proc/sys/net/ipv4/tcp_child_ehash_entries"
	bucketSetting = "/proc/sys/net/ipv4/tcp_ehash_entries"
	// childBuckets is the size that is advised, and measured.
	childBuckets = 4096
)

// inspectTables makes namespaces as a runtime would, where it may, and measures in them. The setting is changed
// in none but one of these.
func inspectTables() tables {
	t := tables{child: -1}
	thread.Discard(func() {
		t.ofHost = enterHost()
		if n, err := readNumber(childSetting); err == nil {
			t.child = n
		}
		t.fresh = leave() == nil
		if n, err := readNumber(bucketSetting); err == nil {
			// Negative is how the kernel says that it is not the namespace's own (proc_tcp_ehash_entries of
			// net/ipv4/sysctl_net_ipv4.c).
			t.buckets = max(n, -n)
		}
		t.sockets = allSockets()
		if t.walk, t.err = walkCost(); t.err != nil || !t.fresh || t.child < 0 {
			return
		}
		if os.WriteFile(childSetting, []byte(strconv.Itoa(childBuckets)), 0) == nil && leave() == nil {
			t.childWalk, _ = walkCost() // without it there is an estimate
		}
	})
	return t
}

// enterHost puts the calling thread in the host's network namespace, if it is not in it and may be, and reports
// whether it is there.
func enterHost() bool {
	if hostfs.NamespaceInode("/proc/thread-self/ns/net") == hostfs.InitialNetNS {
		return true
	}
	if hostfs.NamespaceInode("/proc/self/ns/pid") != hostfs.InitialPIDNS { // the first process is a container's
		return false
	}
	h, err := netns.OpenPID1()
	if err != nil {
		return false
	}
	defer h.Close()
	return unix.Setns(h.FD(), unix.CLONE_NEWNET) == nil
}

// The node that a walk's price is told for where nothing is registered: full, with the default grace.
const (
	fullNode      = 250
	usualInterval = time.Minute
)

// usualBudget is the reaper's --cpu-budget unless it is told another.
const usualBudget = 0.02

// judgeTables says what looking for half-closed sockets costs here, and would cost with child tables. It is
// told how often each registered namespace is looked at.
func judgeTables(t tables, intervals []time.Duration) []Finding {
	f := Finding{Check: "child-tables"}
	if t.err != nil {
		f.Level, f.What = Warn, fmt.Sprintf("what a sweep costs could not be measured: %v", t.err)
		f.Do = "see to sock-destroy first: both need sock_diag"
		return []Finding{f}
	}
	if t.child > 0 {
		f.What = fmt.Sprintf("namespaces made now get a table of connections of their own (net.ipv4.tcp_child_ehash_entries is %d)", t.child)
		if t.fresh {
			f.What += fmt.Sprintf(": a sweep of an empty one costs %v of CPU", rounded(t.walk))
		}
		return []Finding{f}
	}
	whose, verb := "the "+count(len(intervals), "registered namespace"), "costs"
	if len(intervals) == 0 {
		whose, verb = fmt.Sprintf("%d namespaces with the default grace", fullNode), "would cost"
		for range fullNode {
			intervals = append(intervals, usualInterval)
		}
	}
	share := load(t.walk, intervals)
	f.Level = Info
	f.What = fmt.Sprintf("namespaces share one table of connections%s: a sweep of one walks all of it, which costs %v of CPU now that the node has %s, and more with more. A round over %s %s %v, and sweeping them as often as their graces ask takes %s of a core if all have connections",
		ofBuckets(t.buckets), rounded(t.walk), count(t.sockets, "TCP socket"), whose, verb, rounded(t.walk*time.Duration(len(intervals))), percent(share))
	if share > usualBudget {
		f.Level = Warn
		f.What += ": more than the 2% of --cpu-budget, so that half-closed sockets are found late"
	}
	if t.child < 0 {
		f.Do = "use Linux 6.1 or later, which can give each namespace a table of its own (net.ipv4.tcp_child_ehash_entries); until then raise --cpu-budget where the reaper says that it lags behind"
		return []Finding{f}
	}
	f.Do = fmt.Sprintf("set net.ipv4.tcp_child_ehash_entries=%d on the host (sysctl -w, and in /etc/sysctl.d): namespaces made from then on have a table of their own, of %d KiB%s; pods that run keep the shared one until they are made anew",
		childBuckets, childBuckets*8>>10, saving(t, intervals))
	if !t.ofHost {
		f.Do += " (what is set on the host cannot be seen from here: that takes hostPID and CAP_SYS_PTRACE, or being run on the host)"
	}
	return []Finding{f}
}

// load is what sweeping namespaces at these intervals costs, as a share of one core.
func load(walk time.Duration, intervals []time.Duration) (share float64) {
	for _, i := range intervals {
		share += float64(walk) / float64(i)
	}
	return share
}

func ofBuckets(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" of %d buckets", n)
}

// saving says what sweeping would cost with child tables, as measured, or else as the numbers of buckets say.
func saving(t tables, intervals []time.Duration) string {
	switch {
	case t.childWalk > 0:
		return fmt.Sprintf(", and the same sweeping costs %s of a core, as measured here in an empty one", percent(load(t.childWalk, intervals)))
	case t.buckets > childBuckets:
		walk := max(t.walk*childBuckets/time.Duration(t.buckets), leastWalk)
		return fmt.Sprintf(", and the same sweeping costs %s of a core, estimated by the number of buckets", percent(load(walk, intervals)))
	}
	return ""
}

// leastWalk is what is asked and answered where there are no buckets at all.
const leastWalk = 10 * time.Microsecond

// percent writes a share with two digits that count.
func percent(share float64) string {
	if share < 0.0001 {
		return "less than 0.01%"
	}
	return strconv.FormatFloat(share*100, 'g', 2, 64) + "%"
}

// rounded is a duration with two or three digits that count.
func rounded(d time.Duration) time.Duration {
	for unit := time.Duration(1); ; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit)
		}
	}
}
