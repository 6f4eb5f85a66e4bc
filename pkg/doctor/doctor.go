// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package doctor says what this kernel, these privileges and this node's configuration allow, and what to
// change.
//
// Each check looks at something and judges what it saw. The judgement is a function of what was seen alone;
// the looking changes nothing on the node: what has to be tried is tried in a network namespace made for it,
// where the privileges allow. What cannot be looked at is a finding too, and says what that would take.
package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/state"
)

// Level is how bad a finding is.
type Level int

// The levels.
const (
	OK   Level = iota
	Info       // worth knowing, and nothing need be done
	Warn       // works, but not as it should, or could not be looked at
	Fail       // keeps the reaper from destroying, or pods from being registered or started
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

// MarshalText returns what String does.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText takes what String returns.
func (l *Level) UnmarshalText(text []byte) error {
	for _, v := range []Level{OK, Info, Warn, Fail} {
		if v.String() == string(text) {
			*l = v
			return nil
		}
	}
	return fmt.Errorf("unknown level %q", text)
}

// Finding is what a check found. What and Do may hold names of files and pods as they are.
type Finding struct {
	Check string `json:"check"`
	Level Level  `json:"level"`
	What  string `json:"what"`
	// Do is what to do about it: it is there unless the level is ok.
	Do string `json:"do,omitempty"`
}

// Report is what all checks found, in an order that stays.
type Report struct {
	Version  buildinfo.Info `json:"version"`
	Findings []Finding      `json:"findings"`
}

// Worst is the worst level of all findings.
func (r Report) Worst() Level {
	worst := OK
	for _, f := range r.Findings {
		worst = max(worst, f.Level)
	}
	return worst
}

// MarshalJSON adds the worst level, by which a program may go.
func (r Report) MarshalJSON() ([]byte, error) {
	type fields Report // without this method
	return json.Marshal(struct {
		Level Level `json:"level"`
		fields
	}{r.Worst(), fields(r)})
}

// Config says which node is looked at.
type Config struct {
	StateDir   string // of plugin and reaper
	SwitchPath string // of the mode switch
	HostRoot   string // where the host's file system is mounted; "" or "/" if that is the process's own
	ConfDir    string // of the runtime's network configurations, below HostRoot
	BinDir     string // of the CNI plugins, below HostRoot
	// Limit bounds each look: a mount that hangs, or a reaper that is stuck, is reported.
	Limit time.Duration
	// Slow, unless nil, is told what is still being looked at after a second.
	Slow func(what string)
}

// DefaultLimit is the usual Limit.
const DefaultLimit = 2 * time.Second

// Run looks at everything, and judges it. It takes no longer than a few times the limit, whatever hangs.
func Run(ctx context.Context, cfg Config) Report {
	w := look(ctx, cfg)
	return Report{Version: buildinfo.Get(), Findings: w.judge()}
}

// world is everything that was looked at.
type world struct {
	hostRoot seen[error]
	process  seen[process]
	kernel   seen[kernel]
	destroy  seen[destroy]
	reach    seen[reach]
	bpf      seen[bpf]
	tables   seen[tables]
	stateDir seen[directory]
	modeFile seen[switchFile]
	mounts   seen[mounts]
	cni      seen[chains]
	records  seen[records]
	named    seen[named]
	reaper   seen[running]
}

// look looks at everything at the same time.
func look(ctx context.Context, cfg Config) *world {
	store := state.New(cfg.StateDir)
	var w world
	l := looker{limit: cfg.Limit, slow: cfg.Slow}
	start(ctx, &l, &w.hostRoot, "the host's file system", func(context.Context) error { return inspectRoot(cfg.HostRoot) })
	start(ctx, &l, &w.process, "this process", func(context.Context) process { return inspectProcess("/proc") })
	start(ctx, &l, &w.kernel, "the kernel", func(context.Context) kernel { return inspectKernel() })
	start(ctx, &l, &w.destroy, "SOCK_DESTROY", func(context.Context) destroy { return tryDestroy() })
	start(ctx, &l, &w.reach, "network namespaces and processes", tryReach)
	start(ctx, &l, &w.bpf, "BPF", func(context.Context) bpf { return inspectBPF() })
	start(ctx, &l, &w.tables, "the connection tables", func(context.Context) tables { return inspectTables() })
	start(ctx, &l, &w.stateDir, "the state directory", func(context.Context) directory { return inspectStateDir(store, cfg.HostRoot) })
	start(ctx, &l, &w.modeFile, "the mode switch", func(context.Context) switchFile { return inspectSwitch(cfg.SwitchPath) })
	start(ctx, &l, &w.mounts, "the mounts", func(context.Context) mounts { return inspectMounts(cfg.HostRoot) })
	start(ctx, &l, &w.cni, "the network configurations", func(ctx context.Context) chains { return inspectChains(ctx, cfg) })
	start(ctx, &l, &w.records, "the records", func(ctx context.Context) records { return inspectRecords(ctx, store, cfg.HostRoot) })
	start(ctx, &l, &w.named, "the namespaces with a name", func(context.Context) named { return inspectNamed(cfg.HostRoot) })
	start(ctx, &l, &w.reaper, "the reaper", func(ctx context.Context) running { return askReaper(ctx, store.SocketPath()) })
	l.wait()
	return &w
}

// judge says what is to be said of what was seen.
func (w *world) judge() []Finding {
	process, records := w.process.value, w.records.value
	records.err = errors.Join(records.err, w.records.err)
	asked, modeFile := w.reaper.value, w.modeFile.value
	asked.err = errors.Join(asked.err, w.reaper.err)
	programs := w.bpf.value
	programs.load = errors.Join(programs.load, w.bpf.err)
	modeFile.err = errors.Join(modeFile.err, w.modeFile.err)
	return slices.Concat(
		judge("host-root", w.hostRoot, judgeRoot),
		judge("kernel", w.kernel, judgeKernel),
		judge("sock-destroy", w.destroy, func(d destroy) []Finding { return judgeDestroy(d, process) }),
		judge("netns-entry", w.reach, func(r reach) []Finding { return judgeReach(r, process) }),
		judge("bpf", w.bpf, func(b bpf) []Finding { return judgeBPF(b, process) }),
		judge("child-tables", w.tables, func(t tables) []Finding { return judgeTables(t, records.intervals()) }),
		judge("capabilities", w.process, judgeProcess),
		judge("state-dir", w.stateDir, func(d directory) []Finding { return judgeStateDir(d, process) }),
		judge("netns-mounts", w.mounts, func(m mounts) []Finding { return judgeMounts(m, process.mountNS) }),
		judge("records", w.records, judgeRecords),
		judge("unregistered", w.named, func(n named) []Finding { return judgeNamed(n, records) }),
		judge("cni", w.cni, judgeChains),
		judge("finder", w.destroy, func(d destroy) []Finding { return judgeFinder(d, programs) }),
		judge("reaper", w.reaper, func(r running) []Finding { return judgeReaper(r, len(records.usable())) }),
		judge("switch", w.modeFile, judgeSwitch),
		judgeMode(asked, modeFile, w.destroy.value),
	)
}

// judgeFinder says which finder --finder auto chooses, and why.
func judgeFinder(d destroy, b bpf) []Finding {
	f := Finding{Check: "finder", What: "--finder auto chooses bpf, which costs least: the kernel lets its programs be loaded"}
	if b.load != nil {
		f.What = "--finder auto chooses sockdiag, which works wherever sock_diag does: see bpf for why not the other, which costs less"
	}
	if errors.Is(d.err, unix.ENOENT) || errors.Is(d.err, unix.EPROTONOSUPPORT) || isRefused(d.err) {
		f.Level, f.What, f.Do = Fail, "sock_diag does not work here, and no finder does without", "see to sock-destroy"
	}
	return []Finding{f}
}
