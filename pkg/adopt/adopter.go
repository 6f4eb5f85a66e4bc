// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package adopt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/dirwatch"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/state"
)

// CacheDirs returns the directories of libcni's caches: that of runtimes, and that of Multus. Results are in their
// directory "results".
func CacheDirs() []string { return []string{"/var/lib/cni", "/var/lib/cni/multus"} }

// Config is the configuration of an Adopter. All paths are the node's.
type Config struct {
	Store *state.Store
	Root  *netns.Root // opens the paths of network namespaces
	// HostRoot is where the node's file system is mounted; "" for the process's own.
	HostRoot  string
	Clock     monotime.Clock
	CacheDirs []string // usually CacheDirs
	ConfDirs  []string // usually ConfDirs
	// NetnsDirs are searched for the network namespace of an entry without a path; usually hostfs.NetnsDirs.
	NetnsDirs []string
	// Enabled writes records of the entries that are proven. Otherwise these are only counted.
	Enabled bool
	// Mounted are directories. Each network namespace that is mounted in one of them is registered, whatever Enabled is.
	Mounted []string
	Log     *slog.Logger
	// Notify reports changes of the directories to Run; Pass does without it.
	Notify *dirwatch.Instance
}

// Adopter adopts. View may be called at any time; the other methods are for one goroutine at a time.
type Adopter struct {
	cfg    Config
	files  map[string]*cacheFile // by path
	reader *state.Reader
	named  map[string]netns.Identity // what the paths of named network namespaces led to
	boot   string
	never  []netns.Identity // the host's own network namespaces

	mu   sync.Mutex
	view api.AdoptionView
}

// New returns an Adopter.
func New(cfg Config) (*Adopter, error) {
	boot, err := netns.BootID()
	if err != nil {
		return nil, err
	}
	host, err := netns.FindHost()
	if err != nil {
		return nil, fmt.Errorf("identify the host's network namespace: %w", err)
	}
	return &Adopter{
		cfg: cfg, files: make(map[string]*cacheFile), reader: cfg.Store.NewReader(), named: make(map[string]netns.Identity), boot: boot, never: host.Identities(), view: api.AdoptionView{Enabled: cfg.Enabled},
	}, nil
}

// View returns the result of the last pass.
func (a *Adopter) View() api.AdoptionView {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.view
}

// The times of passes. A burst of ADDs is one pass.
const (
	debounce = 200 * time.Millisecond
	interval = 30 * time.Second
)

// Run makes a pass at once, when a cache, a configuration or a directory of mounts changes, and every 30 s, until ctx ends. It
// also removes the adopted records whose container is gone.
func (a *Adopter) Run(ctx context.Context) error {
	dirs := a.cfg.Notify.Watch(dirwatch.Config{Debounce: debounce, Recheck: interval, Poll: interval})
	defer dirs.Close()
	for {
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = dirs.Follow(a.followed()...) // a directory that cannot be followed is read every 30 s
			a.pass(ctx, true)
		}()
		select {
		case <-done:
		case <-ctx.Done():
			return awaitEnd(done)
		}
		timer := time.NewTimer(dirs.Interval())
		select {
		case <-ctx.Done():
		case <-timer.C:
		case burst := <-dirs.Changes():
			if burst.Missed != nil { // the pass that follows reads everything
				a.cfg.Log.Warn("missed changes of libcni's cache: reading it again", "error", burst.Missed)
			}
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// awaitEnd waits for the end of a pass whose context has ended, but not for a file system that hangs.
func awaitEnd(done <-chan struct{}) error {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	return nil
}

// followed returns this process's paths of the directories to follow, as far as they exist.
func (a *Adopter) followed() (paths []string) {
	for _, dir := range slices.Concat(resultsIn(a.cfg.CacheDirs), a.cfg.ConfDirs, a.cfg.Mounted) {
		if path, err := a.root().Resolve(dir); err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}

func (a *Adopter) root() hostfs.Dir { return hostfs.Dir(a.cfg.HostRoot) }

func resultsIn(dirs []string) (results []string) {
	for _, dir := range dirs {
		results = append(results, filepath.Join(dir, "results"))
	}
	return results
}

// Entry is an entry of the cache, and what became of it.
type Entry struct {
	File string `json:"file"` // on the node
	state.Attachment
	Network string    `json:"network,omitempty"`
	Pod     state.Pod `json:"pod,omitzero"`
	Netns   string    `json:"netns,omitempty"` // its path
	// Adopted is set if its record was written. Neither Adopted nor Reason is set for one that would be adopted.
	Adopted bool               `json:"adopted"`
	Reason  api.AdoptionReason `json:"reason,omitempty"` // why it is not adopted
	Why     string             `json:"why,omitempty"`    // Reason in words; may have names from pods
}

// Result is the result of a pass.
type Result struct {
	Entries []Entry
	View    api.AdoptionView
	Err     error // why the result is incomplete; nothing is adopted without knowing records and configurations
}

// maxListed bounds the names in a View.
const maxListed = 3

// Pass reads the cache once and, if Enabled is set, adopts what is proven. An error of any kind is in the Result, and does
// not keep the next pass from trying again. Pass neither registers mounts nor removes records.
func (a *Adopter) Pass(ctx context.Context) Result { return a.pass(ctx, false) }

// pass is Pass; all reports whether it does the rest of Run's work too.
func (a *Adopter) pass(ctx context.Context, all bool) Result {
	p := pass{Adopter: a, ctx: ctx}
	p.run(all)
	v := api.AdoptionView{Enabled: a.cfg.Enabled, Adopted: p.adopted, Skipped: make(map[api.AdoptionReason]int)}
	for _, e := range p.entries {
		switch {
		case e.Adopted:
		case e.Reason == "":
			v.Adoptable++
		default:
			v.Skipped[e.Reason]++
		}
		if e.Reason == api.AdoptNotChained && len(v.NotChained) < maxListed && !slices.Contains(v.NotChained, e.Network) {
			v.NotChained = append(v.NotChained, e.Network)
		}
	}
	v.Unregistered = len(p.unregistered)
	for _, n := range p.unregistered[:min(maxListed, len(p.unregistered))] {
		v.UnregisteredPaths = append(v.UnregisteredPaths, n.Path)
	}
	err := errors.Join(p.errs...)
	if err != nil {
		v.Problem = err.Error()
	}
	if ctx.Err() == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		if v.Problem != "" && v.Problem != a.view.Problem {
			a.cfg.Log.Warn("cannot look for running containers to adopt", "error", err)
		}
		a.view = v
	}
	return Result{Entries: p.entries, View: v, Err: err}
}

// bootTime returns the start of this boot by the current setting of the wall clock.
func bootTime(clock monotime.Clock, now time.Time) time.Time {
	read := func(id int32) time.Duration {
		var ts unix.Timespec
		_ = unix.ClockGettime(id, &ts) // the clocks exist on every kernel that Go runs on
		return time.Duration(ts.Nano())
	}
	mono := time.Duration(clock.Now())
	up := read(unix.CLOCK_BOOTTIME) // counts suspended time too
	if (read(unix.CLOCK_MONOTONIC) - mono).Abs() > time.Second {
		up = mono // in another time namespace, whose CLOCK_BOOTTIME has an offset too
	}
	return now.Add(-up)
}
