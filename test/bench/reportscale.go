// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
)

// finishScale compares the figures of large nodes with their targets.
func (r *report) finishScale() {
	if g := r.Growth; g != nil {
		largest := g.largest(setName)
		r.aim(fmt.Sprintf("the set, %d sockets in %d namespaces, us a half-closed socket", largest.Sockets, largest.Namespaces), "<=", 0.5, largest.PerSocket, "%.2f")
		for _, way := range []string{setName, walkName} {
			r.aim("a half-closed socket on a node of ten times the size, "+way+", to the smallest", "<=", 1.5, g.growth(way), "%.2f")
		}
	}
	if c := r.Candidates; c != nil {
		r.aim(fmt.Sprintf("RSS, bytes a candidate beyond %d", c.Few.Candidates), "<=", 400, c.PerCandidate, "%.0f")
		r.aim(fmt.Sprintf("ages of %d candidates lost by a restart", c.Many.Candidates), "<=", 0, float64(c.Many.Candidates-c.Kept), "%.0f")
	}
}

// scaleTables writes the measurements of large nodes.
func (r *report) scaleTables(t io.Writer) {
	if g := r.Growth; g != nil {
		fmt.Fprint(t, "\nGROWTH: CPU time of one pass, all namespaces in the machine's one hash\n")
		fmt.Fprint(t, "NAMESPACES\tSOCKETS\tHALF-CLOSED\tWAY\tMS\tWORST\tUS A HALF-CLOSED SOCKET\tTO THE LOOP\tLOAD\n")
		for _, row := range g.Rows {
			to := ""
			if row.Ratio != 0 {
				to = ratio(row.Ratio)
			}
			fmt.Fprintf(t, "%d\t%d\t%d\t%s\t%.1f\t%.1f\t%.2f\t%s\t%s\n", row.Namespaces, row.Sockets, row.HalfClosed, row.Way, row.Best, row.Worst, row.PerSocket, to, row.Load)
		}
		fmt.Fprintf(t, "slabs of the kernel for the sockets of the largest node: %.0f MiB\n", g.Kernel)
	}
	if c := r.Candidates; c != nil {
		fmt.Fprintf(t, "\nCANDIDATES: RSS of a reaper, MiB, finder bpf, load %s\nNAMESPACES\tCANDIDATES\tMEDIAN\tLARGEST\tNOT OF THE BINARY\tBYTES EACH BEYOND\n", c.Load)
		fmt.Fprintf(t, "%d\t%d\t%.1f\t%.1f\t%.1f\t\n", c.Few.Namespaces, c.Few.Candidates, c.Few.Median, c.Few.Largest, c.Few.Anonymous)
		fmt.Fprintf(t, "%d\t%d\t%.1f\t%.1f\t%.1f\t%.0f\n", c.Many.Namespaces, c.Many.Candidates, c.Many.Median, c.Many.Largest, c.Many.Anonymous, c.PerCandidate)
		fmt.Fprintf(t, "restarted: saved and exited in %.1f s, %.1f MiB of ages, all known after %.1f s and %.1f s of CPU, %d ages kept\n",
			c.Stop, c.Saved, c.Known, c.CPU, c.Kept)
	}
	if r.Locked != nil {
		fmt.Fprint(t, "\nDESTROYING UNDER THE LOCK: bpf_sock_destroy after a comparison, and a look-up with SOCK_DESTROY, CPU time a socket\n")
		fmt.Fprint(t, "OWN HASHES\tDUE\tIN NAMESPACES\tLOOK-UP US\tLOCK US\tRATIO\tWINDOW US, MEDIAN\tWORST\n")
		for _, l := range r.Locked {
			fmt.Fprintf(t, "%v\t%d\t%d\t%.1f\t%.1f\t%.2f\t%.0f\t%.0f\n", l.Own, l.Due, l.Namespaces, l.Lookup, l.Lock, l.Ratio, l.Median, l.Window)
		}
	}
	if r.Flood != nil {
		fmt.Fprint(t, "\nA FLOOD: destroyed minus half-closed minus grace, of a few sockets in other network namespaces, CPU budget 2%\n")
		fmt.Fprint(t, "WHILE\tSOCKETS\tP50 MS\tP99 MS\tWORST\tWORST BY THE HISTORY\n")
		for _, l := range r.Flood {
			fmt.Fprintf(t, "%s\t%d\t%.1f\t%.1f\t%.1f\t%.1f\n", l.While, l.Sockets, l.P50, l.P99, l.Worst, l.Reported)
		}
	}
	if r.Expire != nil {
		fmt.Fprint(t, "\nEXPIRING TOGETHER: latency of a connection beside it, one request each millisecond\n")
		fmt.Fprint(t, "WHILE\tSOCKETS\tDESTROYED\tSECONDS\tPINGS\tP50 US\tP99 US\tWORST US\tLOAD\n")
		for _, e := range r.Expire {
			fmt.Fprintf(t, "%s\t%d\t%d\t%.1f\t%d\t%.0f\t%.0f\t%.0f\t%s\n", e.While, e.Sockets, e.Destroyed, e.Seconds, e.Pings, e.P50, e.P99, e.Worst, e.Load)
		}
	}
}
