// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/halfclose/halfclose/pkg/finder"
)

// target returns the target of a way to find, as a ratio to the loop; 0 if it has none.
func (f FindRow) target() float64 {
	switch {
	case f.Way == finderName && f.OwnTables:
		return 1.0 / 10
	case f.Way == finderName:
		return 1.0 / 2.3
	case f.Way == setName && !f.OwnTables:
		return 1.0 / 400
	case f.Way == walkName && !f.OwnTables:
		return 1.0 / 120
	}
	return 0
}

// finishBPF compares the bpf finder's figures with its targets.
func (r *report) finishBPF() {
	for _, row := range r.Steady {
		want := 2.0
		if row.Finder == finder.NameBPF {
			want = 0.1
		}
		r.aim(fmt.Sprintf("%% of a core, %d quiet namespaces, finder %s", row.Namespaces, row.Finder), "<=", want, row.Share, "%.2f")
	}
	for _, row := range r.Lateness {
		want := milliseconds(spreadGrace / 4) // a sweep interval
		if row.Finder == finder.NameBPF {
			want = 20
		}
		r.aim("lateness p99, ms, finder "+row.Finder, "<=", want, row.P99, "%.1f")
	}
	if l := r.Life; l != nil {
		r.aim("bpf finder on a connection's life, us", "<=", 1, l.Kernel/1000, "%.2f")
	}
	for _, row := range r.Burst {
		r.aim(fmt.Sprintf("of %d sockets at once never known, finder %s", row.Sockets, row.Finder), "<=", 0, float64(row.NeverKnown), "%.0f")
	}
}

// bpfTables writes the measurements that compare the two finders.
func (r *report) bpfTables(t io.Writer) {
	if r.Steady != nil {
		fmt.Fprint(t, "\nA QUIET NODE: CPU time of a reaper, nothing half-closed, grace 10m\nFINDER\tNAMESPACES\tSOCKETS\tSECONDS\t% OF A CORE\n")
		for _, s := range r.Steady {
			fmt.Fprintf(t, "%s\t%d\t%d\t%.0f\t%.3f\n", s.Finder, s.Namespaces, s.Sockets, s.Seconds, s.Share)
		}
	}
	if l := r.Life; l != nil {
		fmt.Fprintf(t, "\nA CONNECTION'S LIFE: made, closed at one end and at the other, %d times a round, %d rounds\n", l.Connections, l.Rounds)
		fmt.Fprint(t, "NS IN THE PROGRAM\tCALLS\tUS WITHOUT\tUS WITH\tUS ADDED\n")
		fmt.Fprintf(t, "%.0f\t%.1f\t%.2f\t%.2f\t%.2f\n", l.Kernel, l.Calls, l.Without, l.With, l.Added)
	}
	if r.Lateness != nil {
		fmt.Fprint(t, "\nLATENESS: destroyed minus half-closed minus grace, by the clock of who half-closed\nWHILE\tSOCKETS\tP50 MS\tP99 MS\tWORST\n")
		for _, l := range r.Lateness {
			fmt.Fprintf(t, "%s\t%d\t%.1f\t%.1f\t%.1f\n", l.While, l.Sockets, l.P50, l.P99, l.Worst)
		}
	}
	if r.Burst != nil {
		fmt.Fprint(t, "\nA BURST: half-closed as fast as possible\nFINDER\tSOCKETS\tWITHIN S\tALL KNOWN AFTER S\tMISSED AT FIRST\tNEVER KNOWN\n")
		for _, b := range r.Burst {
			fmt.Fprintf(t, "%s\t%d\t%.2f\t%.2f\t%d\t%d\n", b.Finder, b.Sockets, b.Within, b.Known, b.Missed, b.NeverKnown)
		}
	}
}
