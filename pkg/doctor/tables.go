// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/thread"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
)

// tables describes the hash table of established connections of a new namespace, and the cost of a sweep. A sweep of a
// namespace by sock_diag walks the whole table.
type tables struct {
	err error // why the cost could not be measured
	// child is net.ipv4.tcp_child_ehash_entries (Linux 6.1) where namespaces are created; -1 if the kernel has none.
	child  int
	ofHost bool // child was read in the host's network namespace
	// newNS is set if the following values are of a namespace that doctor created, as a runtime does, not of its own.
	newNS   bool
	buckets int           // of its table; 0 if unknown
	sockets int           // TCP sockets of all namespaces
	walk    time.Duration // CPU time of a sweep
	// childWalk is the CPU time of a sweep with a table of childBuckets; 0 if not measured.
	childWalk time.Duration
}

const (
	childSetting  = "/proc/sys/net/ipv4/tcp_child_ehash_entries"
	bucketSetting = "/proc/sys/net/ipv4/tcp_ehash_entries"
	// childBuckets is the recommended size of a namespace's own table.
	childBuckets = 4096
)

// inspectTables measures in namespaces created for it, if the privileges allow one. It changes the setting only in one of
// these.
func inspectTables() tables {
	t := tables{child: -1}
	thread.Discard(func() {
		t.ofHost = enterHost()
		if n, err := readNumber(childSetting); err == nil {
			t.child = n
		}
		t.newNS = enterNewNetns() == nil
		if n, err := readNumber(bucketSetting); err == nil {
			// The kernel returns a negative number for a shared table (proc_tcp_ehash_entries of
			// net/ipv4/sysctl_net_ipv4.c).
			t.buckets = max(n, -n)
		}
		t.sockets = countSockets()
		if t.walk, t.err = measureWalk(); t.err != nil || !t.newNS || t.child < 0 {
			return
		}
		if os.WriteFile(childSetting, []byte(strconv.Itoa(childBuckets)), 0) == nil && enterNewNetns() == nil {
			t.childWalk, _ = measureWalk() // on failure it is estimated
		}
	})
	return t
}

// enterHost moves the calling thread to the host's network namespace, and reports whether it is there.
func enterHost() bool {
	if hostfs.NamespaceInode("/proc/thread-self/ns/net") == hostfs.InitialNetNS {
		return true
	}
	if hostfs.NamespaceInode("/proc/self/ns/pid") != hostfs.InitialPIDNS { // process 1 is a container's
		return false
	}
	h, err := netns.OpenPID1()
	if err != nil {
		return false
	}
	defer h.Close()
	return unix.Setns(h.FD(), unix.CLONE_NEWNET) == nil
}

func readNumber(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// countSockets returns the number of TCP sockets in all namespaces: "alloc" of /proc/net/sockstat, unlike its other
// numbers, is of the whole machine (sockstat_seq_show of net/ipv4/proc.c).
func countSockets() int {
	text, err := os.ReadFile("/proc/thread-self/net/sockstat")
	if err != nil {
		return 0
	}
	return parseAlloc(string(text))
}

func parseAlloc(text string) int {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "TCP: ")
		if !ok {
			continue
		}
		fields := strings.Fields(rest)
		for i := 0; i+1 < len(fields); i += 2 {
			if fields[i] == "alloc" {
				n, _ := strconv.ParseUint(fields[i+1], 10, 31) // 0 stands for unknown
				return int(n)
			}
		}
	}
	return 0
}

// A sweep is measured up to maxWalks times, unless that takes longer than maxWalkTime.
const (
	maxWalks    = 5
	maxWalkTime = 300 * time.Millisecond
)

// measureWalk returns the minimum CPU time of a dump of the half-closed sockets of the calling thread's namespace.
func measureWalk() (time.Duration, error) {
	conn, err := inetdiag.Open()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	var best, total time.Duration
	for range maxWalks {
		before := threadCPU()
		err := conn.Dump(inetdiag.Filter{States: inetdiag.HalfClosed, Info: true}, func(*inetdiag.Socket) error { return nil })
		if err != nil {
			return 0, err
		}
		took := threadCPU() - before
		if total += took; best == 0 || took < best {
			best = took
		}
		if total > maxWalkTime {
			break
		}
	}
	return best, nil
}

// threadCPU returns the CPU time that the calling thread has used.
func threadCPU() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) // cannot fail: the clock exists and &ts is valid
	return time.Duration(ts.Nano())
}

// If nothing is registered, the cost is calculated for a full node with the default grace.
const (
	fullNodeNamespaces = 250
	defaultInterval    = time.Minute
)

// defaultCPUBudget is the default of the reaper's --cpu-budget.
const defaultCPUBudget = 0.02

// reportTables reports the cost of sweeps, and what it would be with child tables. intervals has the sweep interval of each
// registered namespace.
func reportTables(t tables, intervals []time.Duration) []Finding {
	f := Finding{Check: "child-tables"}
	if t.err != nil {
		f.Level, f.What = Warn, fmt.Sprintf("the cost of a sweep could not be measured: %v", t.err)
		f.Do = "fix sock-destroy first: both need sock_diag"
		return []Finding{f}
	}
	if t.child > 0 {
		f.What = fmt.Sprintf("new namespaces get their own connection table (net.ipv4.tcp_child_ehash_entries is %d)", t.child)
		if t.newNS {
			f.What += fmt.Sprintf(": a sweep of an empty one costs %v of CPU", roundDuration(t.walk))
		}
		return []Finding{f}
	}
	whose, verb := "the "+describe.Plural(len(intervals), "registered namespace", "registered namespaces"), "costs"
	if len(intervals) == 0 {
		whose, verb = fmt.Sprintf("%d namespaces with the default grace", fullNodeNamespaces), "would cost"
		for range fullNodeNamespaces {
			intervals = append(intervals, defaultInterval)
		}
	}
	share := cpuShare(t.walk, intervals)
	f.Level = Info
	f.What = fmt.Sprintf("all namespaces share one connection table%s, so each sweep costs %v of CPU with the node's current %s. Sweeping %s once %s %v; at the intervals that the graces require that is %s of a core",
		bucketText(t.buckets), roundDuration(t.walk), describe.Plural(t.sockets, "TCP socket", "TCP sockets"), whose, verb, roundDuration(t.walk*time.Duration(len(intervals))), percent(share))
	if share > defaultCPUBudget {
		f.Level = Warn
		f.What += ", above the 2% of --cpu-budget, so half-closed sockets are found late"
	}
	if t.child < 0 {
		f.Do = "use Linux 6.1 or later, which can give each namespace its own table (net.ipv4.tcp_child_ehash_entries); until then raise --cpu-budget if the reaper reports that sweeps are late"
		return []Finding{f}
	}
	f.Do = fmt.Sprintf("set net.ipv4.tcp_child_ehash_entries=%d on the host (sysctl -w, and in /etc/sysctl.d): namespaces created from then on have their own table of %d KiB%s; existing pods keep the shared one until they are recreated",
		childBuckets, childBuckets*8>>10, savingText(t, intervals))
	if !t.ofHost {
		f.Do += " (the host's current setting is not visible from here: run this on the host, or with hostPID and CAP_SYS_PTRACE)"
	}
	return []Finding{f}
}

// cpuShare returns the cost of sweeps at these intervals as a share of one core.
func cpuShare(walk time.Duration, intervals []time.Duration) (share float64) {
	for _, i := range intervals {
		share += float64(walk) / float64(i)
	}
	return share
}

func bucketText(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" of %d buckets", n)
}

// savingText describes the cost of sweeps with child tables, measured or estimated from the number of buckets.
func savingText(t tables, intervals []time.Duration) string {
	switch {
	case t.childWalk > 0:
		return fmt.Sprintf(", and the same sweeps cost %s of a core, as measured here in an empty one", percent(cpuShare(t.childWalk, intervals)))
	case t.buckets > childBuckets:
		walk := max(t.walk*childBuckets/time.Duration(t.buckets), minWalk)
		return fmt.Sprintf(", and the same sweeps cost %s of a core, estimated from the number of buckets", percent(cpuShare(walk, intervals)))
	}
	return ""
}

// minWalk is the cost of a dump without any buckets.
const minWalk = 10 * time.Microsecond

// percent formats a share with two significant digits.
func percent(share float64) string {
	if share < 0.0001 {
		return "less than 0.01%"
	}
	return strconv.FormatFloat(share*100, 'g', 2, 64) + "%"
}

// roundDuration rounds to two or three significant digits.
func roundDuration(d time.Duration) time.Duration {
	for unit := time.Duration(1); ; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit)
		}
	}
}
