// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package doctor checks what this kernel, these privileges and this node's configuration allow, and recommends changes.
//
// Each check consists of an inspection and a report. The report is a pure function of the inspected state. An inspection
// changes nothing on the node: experiments run in a network namespace created for them if the privileges allow one. An
// inspection that fails is a finding too, with what it requires.
package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/state"
)

// Level is the severity of a finding.
type Level int

// The levels.
const (
	OK   Level = iota
	Info       // no action required
	Warn       // works with limits, or could not be checked
	Fail       // the reaper destroys nothing, or pods are not registered or do not start
)

// String returns ok, info, warn or fail.
func (l Level) String() string {
	switch l {
	case OK:
		return "ok"
	case Info:
		return "info"
	case Warn:
		return "warn"
	case Fail:
		return "fail"
	}
	return fmt.Sprintf("level %d", int(l))
}

// MarshalText returns the level as String does.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText parses a level.
func (l *Level) UnmarshalText(text []byte) error {
	for _, v := range []Level{OK, Info, Warn, Fail} {
		if v.String() == string(text) {
			*l = v
			return nil
		}
	}
	return fmt.Errorf("unknown level %q", text)
}

// Finding is one result of a check. What and Do may contain unescaped names of files and pods.
type Finding struct {
	// ID is stable and unique in a report: the check, and for each of its further findings CHECK/KIND, with the name of a
	// file if each file has its own.
	ID    string `json:"id"`
	Check string `json:"check"`
	Level Level  `json:"level"`
	What  string `json:"what"`
	// Do is the recommended action; "" only if the level is ok.
	Do string `json:"do,omitempty"`
}

// Report has the findings of all checks, always in the same order.
type Report struct {
	Version  buildinfo.Info `json:"version"`
	Findings []Finding      `json:"findings"`
}

// Worst returns the highest level of all findings.
func (r Report) Worst() Level {
	worst := OK
	for _, f := range r.Findings {
		worst = max(worst, f.Level)
	}
	return worst
}

// MarshalJSON adds the highest level, for scripts.
func (r Report) MarshalJSON() ([]byte, error) {
	type fields Report // without this method
	return json.Marshal(struct {
		Level Level `json:"level"`
		fields
	}{r.Worst(), fields(r)})
}

// Config is the node to check.
type Config struct {
	StateDir   string // of the plugin and the reaper
	SwitchPath string // of the mode switch
	HostRoot   string // where the host's file system is mounted; "" or "/" for the process's own
	ConfDir    string // the runtime's network directory, below HostRoot
	BinDir     string // the runtime's plugin directory, below HostRoot
	// Limit bounds each inspection: a mount or a reaper that hangs is reported.
	Limit time.Duration
	// Slow is called once if inspections take more than a second, with their names; may be nil.
	Slow func(what string)
}

// DefaultLimit is the usual Limit.
const DefaultLimit = 2 * time.Second

// Run runs all checks. It takes at most a few times the limit, even if an inspection hangs.
func Run(ctx context.Context, cfg Config) Report {
	s := inspect(ctx, cfg)
	return Report{Version: buildinfo.Get(), Findings: identify(s.report())}
}

// nodeState is the inspected state.
type nodeState struct {
	hostRoot inspected[error]
	process  inspected[process]
	kernel   inspected[kernel]
	destroy  inspected[destroy]
	reach    inspected[reach]
	bpf      inspected[bpf]
	tables   inspected[tables]
	stateDir inspected[directory]
	modeFile inspected[switchFile]
	mounts   inspected[mounts]
	cni      inspected[chains]
	records  inspected[records]
	named    inspected[named]
	reaper   inspected[running]
}

// inspect runs all inspections concurrently.
func inspect(ctx context.Context, cfg Config) *nodeState {
	store := state.New(cfg.StateDir)
	var s nodeState
	i := inspector{limit: cfg.Limit, slow: cfg.Slow}
	start(ctx, &i, &s.hostRoot, "the host's file system", func(context.Context) error { return inspectRoot(cfg.HostRoot) })
	start(ctx, &i, &s.process, "this process", func(context.Context) process { return inspectProcess("/proc") })
	start(ctx, &i, &s.kernel, "the kernel", func(context.Context) kernel { return inspectKernel() })
	start(ctx, &i, &s.destroy, "SOCK_DESTROY", func(context.Context) destroy { return tryDestroy() })
	start(ctx, &i, &s.reach, "network namespaces and processes", tryReach)
	start(ctx, &i, &s.bpf, "BPF", func(context.Context) bpf { return inspectBPF() })
	start(ctx, &i, &s.tables, "the connection tables", func(context.Context) tables { return inspectTables() })
	start(ctx, &i, &s.stateDir, "the state directory", func(context.Context) directory { return inspectStateDir(store, cfg.HostRoot) })
	start(ctx, &i, &s.modeFile, "the mode switch", func(context.Context) switchFile { return inspectSwitch(cfg.SwitchPath) })
	start(ctx, &i, &s.mounts, "the mounts", func(context.Context) mounts { return inspectMounts(cfg.HostRoot) })
	start(ctx, &i, &s.cni, "the network configurations", func(ctx context.Context) chains { return inspectChains(ctx, cfg) })
	start(ctx, &i, &s.records, "the records", func(ctx context.Context) records { return inspectRecords(ctx, store, cfg.HostRoot) })
	start(ctx, &i, &s.named, "the named namespaces", func(context.Context) named { return inspectNamed(cfg.HostRoot) })
	start(ctx, &i, &s.reaper, "the reaper", func(ctx context.Context) running { return askReaper(ctx, store.SocketPath()) })
	i.wait()
	return &s
}

// report returns the findings about the inspected state.
func (s *nodeState) report() []Finding {
	process, records := s.process.value, s.records.value
	records.err = errors.Join(records.err, s.records.err)
	asked, modeFile := s.reaper.value, s.modeFile.value
	asked.err = errors.Join(asked.err, s.reaper.err)
	programs := s.bpf.value
	programs.load = errors.Join(programs.load, s.bpf.err)
	modeFile.err = errors.Join(modeFile.err, s.modeFile.err)
	return slices.Concat(
		report(s.hostRoot, reportRoot, "host-root"),
		report(s.kernel, reportKernel, "kernel", "netns-cookie", "openat2"),
		report(s.destroy, func(d destroy) []Finding { return reportDestroy(d, process) }, "sock-destroy"),
		report(s.reach, func(r reach) []Finding { return reportReach(r, process) }, "netns-entry", "owners", "peers"),
		report(s.bpf, func(b bpf) []Finding { return reportBPF(b, process) }, "bpf", "btf"),
		report(s.tables, func(t tables) []Finding { return reportTables(t, records.intervals()) }, "child-tables"),
		report(s.process, reportProcess, "capabilities", "process-access", "user-namespace", "pid-namespace", "confinement"),
		report(s.stateDir, func(d directory) []Finding { return reportStateDir(d, process) }, "state-dir"),
		report(s.mounts, func(m mounts) []Finding { return reportMounts(m, process.mountNS) }, "netns-mounts"),
		report(s.records, reportRecords, "records"),
		report(s.named, func(n named) []Finding { return reportNamed(n, records) }, "unregistered"),
		report(s.cni, reportChains, "cni"),
		report(s.destroy, func(d destroy) []Finding { return reportFinder(d, programs) }, "finder"),
		report(s.reaper, func(r running) []Finding { return reportReaper(r, len(records.usable())) }, "reaper"),
		report(s.modeFile, reportSwitch, "switch"),
		reportMode(asked, modeFile, s.destroy.value),
	)
}

// identify sets the ID of findings that have none to their check, and numbers repeated IDs: "cni/key/10-x.conflist",
// "cni/key/10-x.conflist/2".
func identify(all []Finding) []Finding {
	uses := make(map[string]int)
	for i := range all {
		f := &all[i]
		f.ID = cmp.Or(f.ID, f.Check)
		uses[f.ID]++
		if n := uses[f.ID]; n > 1 {
			f.ID += fmt.Sprintf("/%d", n)
		}
	}
	return all
}

// inspectRoot opens the host root as the reaper does.
func inspectRoot(dir string) error {
	root, err := netns.NewRoot(dir)
	if err != nil {
		return err
	}
	return root.Close()
}

// reportRoot has a finding only for an error.
func reportRoot(err error) []Finding {
	if err == nil {
		return nil
	}
	return []Finding{{
		Check: "host-root", Level: Fail, What: err.Error() + ": a reaper does not start with this --host-root",
		Do: "mount the host's root there, or set --host-root (HALFCLOSE_HOST_ROOT) to its path; omit it on the host itself",
	}}
}

// reportFinder reports which finder --finder auto selects.
func reportFinder(d destroy, b bpf) []Finding {
	f := Finding{Check: "finder", What: "--finder auto selects bpf, which costs least: its programs can be loaded"}
	if b.load != nil {
		f.What = "--finder auto selects sockdiag, which costs more than bpf: the check bpf has the reason"
	}
	if errors.Is(d.err, inetdiag.ErrNoTCP) || errors.Is(d.err, unix.ENOENT) || errors.Is(d.err, unix.EPROTONOSUPPORT) || isRefused(d.err) {
		f.Level, f.What, f.Do = Fail, "sock_diag does not work here, and every finder needs it", "fix sock-destroy"
	}
	return []Finding{f}
}
