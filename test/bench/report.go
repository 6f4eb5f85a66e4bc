// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// report has the results of a run.
type report struct {
	Machine    Machine       `json:"machine"`
	Short      bool          `json:"short"` // too few rounds for reliable figures
	Notes      []string      `json:"notes,omitempty"`
	Find       []FindRow     `json:"find,omitempty"`
	Steady     []SteadyRow   `json:"steady,omitempty"`
	Life       *Life         `json:"life,omitempty"`
	Lateness   []LatenessRow `json:"lateness,omitempty"`
	Flood      []LatenessRow `json:"flood,omitempty"`
	Locked     []LockedRow   `json:"locked,omitempty"`
	Burst      []BurstRow    `json:"burst,omitempty"`
	Memory     []Memory      `json:"memory,omitempty"`
	API        *API          `json:"api,omitempty"`
	Ask        *Ask          `json:"ask,omitempty"`
	Destroy    []DestroyRow  `json:"destroy,omitempty"`
	Growth     *Growth       `json:"growth,omitempty"`
	Candidates *Candidates   `json:"candidates,omitempty"`
	Expire     []ExpireRow   `json:"expire,omitempty"`
	Add        []AddRow      `json:"add,omitempty"`
	Targets    []Target      `json:"targets,omitempty"`
}

// Target is a target and the measured figure.
type Target struct {
	What string `json:"what"`
	Want string `json:"want"`
	Got  string `json:"got"`
	Met  bool   `json:"met"`
}

// aim adds a target: the figure must be at most, or at least, want.
func (r *report) aim(what, relation string, want, got float64, format string) {
	met := got <= want
	if relation == ">=" {
		met = got >= want
	}
	r.Targets = append(r.Targets, Target{
		What: what, Want: relation + " " + fmt.Sprintf(format, want), Got: fmt.Sprintf(format, got), Met: met,
	})
}

// finish compares the figures with the targets, except in a short run.
func (r *report) finish() {
	if r.Short {
		return
	}
	full := 0
	for _, row := range r.Find {
		full = max(full, row.Namespaces)
	}
	for _, row := range r.Find {
		want := row.target()
		if want == 0 || row.Namespaces != full || row.HalfClosed == 0 {
			continue
		}
		r.aim(fmt.Sprintf("%s, %d namespaces, %s, to the ss loop", row.Way, full, tables(row.OwnTables)), "<=", want, row.Ratio, "%.4f")
	}
	r.finishBPF()
	r.finishScale()
	for _, row := range r.Destroy {
		if row.Way == reaperName {
			r.aim("destroys per second and core, the look included", ">=", 100_000, row.Rate, "%.0f")
			r.aim("destroying, to the kernel's own cost", "<=", 1.2, row.Ratio, "%.2f")
		}
	}
	for _, row := range r.Add {
		if row.Plugin == externalName || row.Plugin == autoName {
			r.aim("ADD CPU p50, "+row.Plugin+", to a plugin that does nothing", "<=", 1.25, row.CPURatio, "%.2f")
			r.aim("ADD wall p50, "+row.Plugin+", to a plugin that does nothing", "<=", 1.25, row.Ratio, "%.2f")
		}
	}
	for _, m := range r.Memory {
		r.aim(fmt.Sprintf("RSS, %d namespaces and %d candidates, finder %s, MiB", m.Namespaces, m.Candidates, m.Finder), "<=", 40, m.Largest, "%.1f")
	}
	if a := r.Ask; a != nil {
		for _, row := range a.Rows {
			if row.Way == knownName || row.Way == searchedName {
				r.aim(fmt.Sprintf("%s, %d sockets in %d namespaces, us of CPU", row.Way, row.Sockets, row.Namespaces), "<=", askTarget, row.Best, "%.0f")
			}
		}
		r.aim("asking without a pause, % of a core", "<=", 100*a.Budget, 100*a.Used, "%.2f")
	}
	if a := r.API; a != nil {
		for _, row := range a.Rows {
			if row.Target {
				r.aim(fmt.Sprintf("%s, %d candidates, p50 ms", row.Way, a.Candidates), "<=", 100, row.P50, "%.1f")
			}
		}
		if list, loop := a.row(listName), a.row(loopName); loop.P50 > 0 {
			r.aim(fmt.Sprintf("%s, %d candidates, to the ss loop", list.Way, a.Candidates), "<=", 1.0/6, list.P50/loop.P50, "%.3f")
		}
	}
}

// tables writes the report as text.
func (r *report) tables(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	m := r.Machine
	fmt.Fprintf(t, "Linux %s, %d cores (%s), %d ehash buckets, %s, %s, load %s\n",
		m.Kernel, m.Cores, m.CPU, m.Buckets, m.Iproute, m.Go, m.Load)
	if r.Short {
		fmt.Fprintln(t, "A short run: it shows that everything works, and its figures mean little. No targets are looked at.")
	}
	for _, note := range r.Notes {
		fmt.Fprintln(t, "Left out:", note)
	}
	r.findTable(t)
	r.bpfTables(t)
	r.apiTables(t)
	r.askTable(t)
	r.scaleTables(t)
	if r.Destroy != nil {
		fmt.Fprint(t, "\nDESTROYING: CPU time, the best of the rounds\n")
		fmt.Fprint(t, "WAY\tSOCKETS\tUS EACH\tWORST\tPER S AND CORE\tTO THE KERNEL'S\n")
		for _, d := range r.Destroy {
			fmt.Fprintf(t, "%s\t%d\t%.1f\t%.1f\t%.0f\t%.2f\n", d.Way, d.Sockets, d.Best, d.Worst, d.Rate, d.Ratio)
		}
	}
	if r.Add != nil {
		fmt.Fprint(t, "\nADD: the plugin's process, from its start to its end; the median of the runs, ratios of each run's own\n")
		fmt.Fprint(t, "PLUGIN\tRUNS\tCPU P50 MS\tWALL P50 MS\tP90 MS\tCPU TO NOTHING\tWALL TO NOTHING\tOF THE RUNS\n")
		for _, a := range r.Add {
			fmt.Fprintf(t, "%s\t%d of %d\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f to %.2f, %.2f to %.2f\n", a.Plugin, a.Runs, a.Rounds,
				a.CPU, a.P50, a.P90, a.CPURatio, a.Ratio, a.CPURange[0], a.CPURange[1], a.Range[0], a.Range[1])
		}
	}
	if r.Memory != nil {
		fmt.Fprint(t, "\nMEMORY: RSS of a reaper, MiB, and what the finder's maps take of the kernel's\n")
		fmt.Fprint(t, "FINDER\tNAMESPACES\tCANDIDATES\tMEDIAN\tLARGEST\tNOT OF THE BINARY\tMAPS\tROOM FOR\n")
		for _, m := range r.Memory {
			fmt.Fprintf(t, "%s\t%d\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t%d\n", m.Finder, m.Namespaces, m.Candidates, m.Median, m.Largest, m.Anonymous, m.Kernel, m.Room)
		}
	}
	if len(r.Targets) > 0 {
		fmt.Fprint(t, "\nTARGETS\nWHAT\tWANT\tGOT\t\n")
		for _, g := range r.Targets {
			met := "met"
			if !g.Met {
				met = "MISSED"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", g.What, g.Want, g.Got, met)
		}
	}
	return t.Flush()
}

// apiTables writes the response times, and their effect on the reaper's deadlines.
func (r *report) apiTables(t io.Writer) {
	if r.API == nil {
		return
	}
	fmt.Fprintf(t, "\nTHE API: a reaper with %d candidates in %d namespaces\n", r.API.Candidates, r.API.Namespaces)
	fmt.Fprint(t, "WAY\tROUNDS\tP50 MS\tWORST\tKIB\n")
	for _, a := range r.API.Rows {
		fmt.Fprintf(t, "%s\t%d\t%.1f\t%.1f\t%d\n", a.Way, a.Rounds, a.P50, a.Worst, a.Bytes>>10)
	}
	fmt.Fprint(t, "\nLATENESS: destroy minus deadline\nWHILE\tSOCKETS\tP50 MS\tP99 MS\tWORST\n")
	for _, l := range r.API.Lateness {
		fmt.Fprintf(t, "%s\t%d\t%.1f\t%.1f\t%.1f\n", l.While, l.Sockets, l.P50, l.P99, l.Worst)
	}
}

// askTable writes the cost of asking peers.
func (r *report) askTable(t io.Writer) {
	if r.Ask == nil {
		return
	}
	fmt.Fprint(t, "\nASKING: CPU time of a question, the best of the rounds\n")
	fmt.Fprint(t, "NAMESPACES\tSOCKETS\tWAY\tUS EACH\tWORST\tTO THE PROBER\n")
	for _, a := range r.Ask.Rows {
		fmt.Fprintf(t, "%d\t%d\t%s\t%.1f\t%.1f\t%.1f\n", a.Namespaces, a.Sockets, a.Way, a.Best, a.Worst, a.Ratio)
	}
	fmt.Fprintf(t, "without a pause for %.0f s: %d answers, %.4f cores of a budget of %.4f, the whole process %.4f\n",
		r.Ask.Seconds, r.Ask.Answers, r.Ask.Used, r.Ask.Budget, r.Ask.Process)
}

// findTable writes the cost of finding, in one table for each kind of hash.
func (r *report) findTable(t io.Writer) {
	for _, own := range []bool{false, true} {
		head := fmt.Sprintf("\nFINDING, namespaces %s: CPU time of one pass, the best of the rounds\n"+
			"NAMESPACES\tSOCKETS\tHALF-CLOSED\tWAY\tMS\tWORST\tMS A NAMESPACE\tTO THE LOOP\n", tables(own))
		for _, f := range r.Find {
			if f.OwnTables != own {
				continue
			}
			fmt.Fprint(t, head)
			head = ""
			fmt.Fprintf(t, "%d\t%d\t%d\t%s\t%.1f\t%.1f\t%.2f\t%s\n", f.Namespaces, f.Sockets, f.HalfClosed, f.Way,
				f.Best, f.Worst, f.Best/float64(f.Namespaces), ratio(f.Ratio))
		}
	}
}

// ratio formats a number below one as a fraction: 1/8 instead of 0.125.
func ratio(r float64) string {
	if r > 0.95 {
		return strings.TrimSuffix(fmt.Sprintf("%.1f", r), ".0")
	}
	return fmt.Sprintf("1/%.1f", 1/r)
}
