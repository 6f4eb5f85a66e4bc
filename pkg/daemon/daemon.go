// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package daemon runs a process as the only reaper of a node: it holds the lock of the state directory, takes over from the
// reaper before it, serves the HTTP API and the metrics, and notifies the service manager. Its Command is "halfclose reaper".
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/writelog"
	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/launch/detach"
	"github.com/halfclose/halfclose/pkg/logging"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// Config is the configuration of a Daemon. The fields from Finder on have a flag of "halfclose reaper" each, which has the
// default.
type Config struct {
	StateDir   string    // an absolute path
	SwitchPath string    // the file of the node's mode switch
	Stderr     io.Writer // see logging.Options

	UnknownVariables []string // warnings about the environment, for the log

	Auto           bool // the CNI plugin started the process
	ServiceManager bool // a service manager started the process

	Finder        string  // one of finder.Names
	MaxBPFSockets int     // capacity of the bpf finder's socket map
	CPUBudget     float64 // share of one core for finding, such as 0.02
	HostRoot      string  // where the host's root file system is mounted; empty in the host's own mount namespace

	Mode                 policy.Mode   // the cap on every record's mode
	MinGrace             time.Duration // no grace is shorter
	Sample               time.Duration // the longest time between two looks at a socket; 0 is no bound
	MaxDestroysPerSecond int           // on the whole node; 0 is no bound
	MaxAsksPerSecond     int           // on the whole node; 0 asks no peer
	AskCPUBudget         float64       // share of one core for asking peers, such as 0.02
	AllowHostNetns       bool          // act on records of the host's own network namespace too
	PolicyFile           string        // an absolute path
	PolicyFileNamed      bool          // an operator has named it, and it is not the default
	IdleExit             time.Duration // the longest time without a record; 0 is no bound

	Adopt       bool     // register the containers that were running before
	CNICaches   []string // directories of libcni's caches
	CNIConfDirs []string // directories of network configurations
	AdoptNetns  []string // directories whose mounted network namespaces are registered

	MetricsAddress string     // HOST:PORT; empty serves no metrics over TCP
	Wait           bool       // wait for the lock without a bound
	LogLevel       slog.Level // of the start: the API changes the level in force
	// Flags has every flag with its source, for the API.
	Flags     []api.FlagView
	LogFormat string // logging.Text or logging.JSON
}

// startedBy returns what started this reaper, for other reapers and the API.
func (c *Config) startedBy() api.StartedBy {
	switch {
	case c.Auto:
		return api.ByPlugin
	case c.ServiceManager:
		return api.BySystemd
	}
	return api.ByCommand
}

// Daemon is one reaper process.
type Daemon struct {
	cfg     Config
	me      api.Holder
	store   *state.Store
	log     *slog.Logger
	level   *logLevel
	logFile io.Closer
	writes  *writelog.Log    // the outcome of writing each file
	hangups <-chan os.Signal // each is a request to reload the records

	// Run sets these in this order.
	clock   monotime.Clock
	boot    string
	root    *netns.Root
	metrics *metricsListener
	lock    *Lock
	backend *finder.Backend
}

// New creates the state directory and opens the log. From then on SIGHUP does not kill the process. An error of New is in
// no log.
func New(cfg Config) (*Daemon, error) {
	d := &Daemon{cfg: cfg, store: state.New(cfg.StateDir), writes: new(writelog.Log), hangups: notifyHangups(), level: newLogLevel(cfg.LogLevel)}
	d.me = api.Holder{
		PID: os.Getpid(), StartedBy: cfg.startedBy(), Since: time.Now().Round(0), Version: buildinfo.Get().Version,
	}
	if err := launch.CheckStateDir(cfg.StateDir); err != nil {
		return nil, cmdline.AsUsage(err)
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("create the state directory: %w", err)
	}
	if err := state.CheckDir(cfg.StateDir); err != nil {
		return nil, fmt.Errorf("use the state directory: %w", err)
	}
	var err error
	d.log, d.logFile, err = logging.New(logging.Options{
		Level: d.level, Format: cfg.LogFormat, Stderr: cfg.Stderr, Auto: cfg.Auto, File: d.store.LogPath(),
	})
	if err != nil {
		return nil, err
	}
	for _, warning := range cfg.UnknownVariables {
		d.log.Warn(warning)
	}
	return d, nil
}

// Close writes the last lines of the log.
func (d *Daemon) Close() error { return d.logFile.Close() }

// Run works until ctx ends, another reaper takes over, or there has been no record for Config.IdleExit. If the plugin
// started the process, Run logs its error, since stderr has no reader. Run may be called once.
func (d *Daemon) Run(ctx context.Context) error {
	if d.cfg.Auto {
		if err := detach.FromRuntime(); err != nil {
			d.log.Warn("cannot leave the container runtime's cgroup and other settings", "error", err)
		}
	}
	err := d.run(ctx)
	if _, held := errors.AsType[*HeldError](err); held && d.cfg.Auto {
		d.log.Info("reaper exits: another reaper holds the lock", "error", err) // several ADDs started one at the same time
	} else if err != nil && d.cfg.Auto {
		d.log.Error("reaper exits", "error", err)
	}
	return err
}

// run goes through the phases of a reaper process: metrics listener, lock, finder, work. The metrics listener comes first: if
// it cannot listen, the process exits without any other effect.
func (d *Daemon) run(ctx context.Context) (err error) {
	if d.clock, err = monotime.System(); err != nil {
		return err
	}
	if d.boot, err = netns.BootID(); err != nil {
		return err
	}
	if d.root, err = netns.NewRoot(d.cfg.HostRoot); err != nil {
		return err
	}
	defer d.root.Close()
	d.metrics = &metricsListener{scrape: admin.NewScrape(d.log), address: d.cfg.MetricsAddress, log: d.log}
	defer d.metrics.close()
	if err := d.metrics.open(ctx, d.cfg.Wait); err != nil {
		return err
	}
	if d.lock, err = d.awaitLock(ctx); err != nil || d.lock == nil {
		return err
	}
	defer d.lock.Release()
	if err := d.metrics.takeOver(ctx); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, notifyStopping)()
	// With tens of thousands of candidates, garbage would be most of the memory.
	debug.SetGCPercent(30)
	load := func() (*finder.Loader, error) { return finder.LoadPrograms(d.cfg.MaxBPFSockets) }
	if d.backend, err = finder.Select(d.cfg.Finder, load, finder.Config{Root: d.root, Clock: d.clock, CPUBudget: d.cfg.CPUBudget}); err != nil {
		return err
	}
	defer d.backend.Close()
	debug.FreeOSMemory() // loading the programs parsed the kernel's types, once
	d.log.Info("reaper starts",
		"version", d.me.Version, "state_dir", d.store.Dir(), "mode", d.cfg.Mode.String(), "started_by", string(d.me.StartedBy))
	return d.work(ctx)
}
