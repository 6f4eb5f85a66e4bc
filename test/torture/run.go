// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/test/node"
	"github.com/halfclose/halfclose/test/torture/disturb"
	"github.com/halfclose/halfclose/test/torture/model"
	"github.com/halfclose/halfclose/test/torture/plan"
	"github.com/halfclose/halfclose/test/torture/verdict"
	"github.com/halfclose/halfclose/test/torture/world"
)

// The node's paths.
const (
	stateDir   = "/run/halfclose"
	varDir     = "/var/lib/halfclose"
	policyFile = "/run/torture/policy.yaml"
)

// bounds are how late halfclose may be: see docs/architecture.md ("How sockets are found") and docs/operate.md.
func bounds() model.Bounds {
	return model.Bounds{
		Reaction: 1500 * time.Millisecond, Propagation: time.Second, Answer: 1700 * time.Millisecond, MinGrace: minGrace,
		LookAge: time.Millisecond, Thaw: 31 * time.Second, AskRetry: 11 * time.Second,
	}
}

const minGrace = 100 * time.Millisecond

// session is one run on the node.
type session struct {
	o       options
	plan    *plan.Plan
	start   model.Time
	world   *world.World
	node    *disturb.Node
	canary  canary
	logging sync.Mutex
	log     *bufio.Writer
	effects []model.Effect
	meter   *meter   // of a soak
	wrong   []string // what disturbances have seen
}

// torture runs the test on its node, and returns the exit code.
func torture(o options) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	s := &session{o: o}
	if err := preferNode(); err != nil {
		fmt.Println("torture: other work on this machine counts against the reaper:", err)
	}
	fmt.Printf("torture: seed %d, finder %s, %v; to replay: -seed %d -finder %s -duration %v\n", o.seed, o.finder, o.duration, o.seed, o.finder, o.duration)
	faults, err := s.run(ctx)
	if err != nil {
		fmt.Println("torture: broken:", err)
		return exitBroken
	}
	if faults > 0 {
		fmt.Printf("torture: FAILED, seed %d; the schedule and the reaper's log are in %s\n", o.seed, o.log)
		return exitFault
	}
	fmt.Println("torture: passed")
	return exitPassed
}

// preferNode has the kernel run the node before the machine's other work, which is no fault of halfclose.
func preferNode() error {
	var errs []error
	for _, f := range []struct{ path, value string }{
		{"/sys/fs/cgroup/cpu/cpu.shares", "262144"}, {"/sys/fs/cgroup/cpu,cpuacct/cpu.shares", "262144"}, // v1
		{"/sys/fs/cgroup/cpu.weight", "10000"}, // v2
	} {
		err := os.WriteFile(f.path, []byte(f.value), 0)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// run runs the test, and returns the number of faults.
func (s *session) run(ctx context.Context) (faults int, err error) {
	file, err := os.Create(filepath.Join(s.o.log, "schedule.log"))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	s.log = bufio.NewWriter(file)
	defer s.log.Flush()
	profile, err := plan.ProfileOf(s.o.profile)
	if err != nil {
		return 0, err
	}
	options := plan.Options{Seed: s.o.seed, Duration: s.o.duration, Finder: s.o.finder, Concurrent: s.o.concurrent, Profile: profile}
	if !s.o.quiet {
		catalog, err := disturb.Choose(s.o.only)
		if err != nil {
			return 0, err
		}
		for _, m := range catalog {
			options.Disturbances = append(options.Disturbances, plan.Entry{Name: m.Name, Weight: m.Weight, Lasts: m.Lasts})
		}
	}
	s.plan = plan.New(options)
	if err := s.furnish(); err != nil {
		return 0, err
	}
	canaryCtx, stopCanary := context.WithCancel(ctx)
	defer stopCanary()
	go s.canary.run(canaryCtx)
	if err := s.startReaper(ctx); err != nil {
		return 0, err
	}
	s.start = model.Now()
	s.world, err = world.New(world.Config{Programs: node.BinDir, Env: s.env(), Start: s.start, Log: s.logf})
	if err != nil {
		return 0, err
	}
	s.node.Pods = s.world

	playing, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.o.soak {
		s.meter = startMeter(playing, s.node.Reaper.PID(), max(time.Second, s.o.duration/600))
	}
	var disturbing error
	done := make(chan struct{})
	go func() {
		defer close(done)
		if disturbing = s.disturb(playing); disturbing != nil {
			cancel()
		}
	}()
	played := s.world.Play(playing, s.plan)
	<-done
	if s.meter != nil {
		cancel()
		<-s.meter.done
		played = errors.Join(played, s.meter.err)
	}
	if err := errors.Join(disturbing, played, ctx.Err()); err != nil {
		return 0, err
	}
	leaks, err := s.leaks(ctx)
	if err != nil {
		return 0, err
	}
	return s.judge(leaks), nil
}

func (s *session) env() []string { return []string{"HALFCLOSE_STATE_DIR=" + stateDir} }

// furnish mounts the state directory, which is a file system of its own so that it can be full.
func (s *session) furnish() error {
	for _, dir := range []string{stateDir, varDir, filepath.Dir(policyFile)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := unix.Mount("tmpfs", stateDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=700,size=16m"); err != nil {
		return fmt.Errorf("mount %s: %w", stateDir, err)
	}
	if err := os.WriteFile(policyFile, []byte("version: 1\npods: []\n"), 0o600); err != nil {
		return err
	}
	logPath := filepath.Join(s.o.log, "reaper.log")
	if err := os.RemoveAll(logPath); err != nil {
		return err
	}
	reaper, err := disturb.NewReaper(node.BinDir, logPath, s.env(), "--finder="+s.plan.Finder, "--min-grace", minGrace.String(),
		"--cpu-budget", "20%", "--policy-file", policyFile)
	if err != nil {
		return err
	}
	s.node = &disturb.Node{
		Programs: node.BinDir, StateDir: stateDir, VarDir: varDir, PolicyFile: policyFile, Reaper: reaper, Log: s.logf,
	}
	return nil
}

// startReaper starts the first reaper and waits until it is healthy.
func (s *session) startReaper(ctx context.Context) error {
	if err := s.node.Reaper.Start(); err != nil {
		return err
	}
	if s.plan.Finder == "sockdiag" {
		s.effects = append(s.effects, model.Effect{Kind: model.RoleUnknown, To: model.Forever, Until: model.Forever, Why: "sockdiag"})
	}
	return s.awaitHealth(ctx)
}

// awaitHealth waits until the reaper is healthy.
func (s *session) awaitHealth(ctx context.Context) error {
	for end := model.Now() + 2*time.Minute; ; {
		cmd := exec.CommandContext(ctx, filepath.Join(node.BinDir, "halfclose"), "health")
		cmd.Env = append(os.Environ(), s.env()...)
		out, err := cmd.CombinedOutput()
		if err == nil {
			return nil
		}
		if model.Now() > end || ctx.Err() != nil {
			return fmt.Errorf("the reaper is not healthy: %w: %s", err, out)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// disturb runs the disturbances of the plan one after the other.
func (s *session) disturb(ctx context.Context) error {
	makers := make(map[string]disturb.Maker)
	for _, m := range disturb.Catalog() {
		makers[m.Name] = m
	}
	for _, d := range s.plan.Disturbances {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(s.start + d.At - model.Now()):
		}
		s.logf("disturbance %s begins", d.Name)
		effects, err := makers[d.Name].Make(rand.New(rand.NewPCG(d.Seed, 0))).Run(ctx, s.node)
		s.effects = append(s.effects, effects...)
		if v, ok := errors.AsType[*disturb.Violation](err); ok {
			s.logf("disturbance %s: %v", d.Name, v)
			s.wrong = append(s.wrong, d.Name+": "+v.What)
			continue
		}
		if err != nil {
			return fmt.Errorf("disturbance %s: %w", d.Name, err)
		}
		s.logf("disturbance %s is over: %+v", d.Name, effects)
	}
	return nil
}

// logf writes a line of the schedule.
func (s *session) logf(format string, args ...any) {
	line := fmt.Sprintf("%9.3fs ", (model.Now()-s.start).Seconds()) + fmt.Sprintf(format, args...)
	s.logging.Lock()
	defer s.logging.Unlock()
	fmt.Fprintln(s.log, line)
	if s.o.verbose {
		fmt.Println(line)
	}
}

// judge prints the verdict, and returns the number of faults.
func (s *session) judge(leaks []string) int {
	run := &model.Run{
		Bounds: bounds(), Effects: s.effects, Namespaces: s.world.Namespaces(), Stalled: s.canary.stalled,
		OwnersIncomplete: true, // the node has a PID namespace of its own
	}
	report := verdict.Judge(run, s.world.Sockets())
	for i := range report.Findings {
		f := &report.Findings[i]
		f.WriteSchedule(s.log, run, s.start)
		if i < 10 {
			f.WriteSchedule(os.Stdout, run, s.start)
		}
	}
	faults := append(s.world.Faults(), s.wrong...)
	for i, text := range append(leaks, faults...) {
		fmt.Fprintln(s.log, text)
		if i < 20 {
			fmt.Println("torture:", text)
		}
	}
	stalled := s.canary.stalled(s.start, model.Now())
	fmt.Printf("torture: %d netns, %d disturbances, %d sockets (%d half-closed): %v; %d had to end, %d to stay, %d could do either or had a wide window (%.0f %%: %v)\n",
		len(s.plan.Namespaces), len(s.plan.Disturbances), report.Sockets, report.HalfOpen, report.Ended, report.Required, report.Kept, report.Wide,
		100*float64(report.Wide)/float64(max(report.Sockets, 1)), report.WideBy)
	fmt.Printf("torture: the machine stalled for %v of %v; the closest end was %v before its bound\n", stalled.Round(time.Millisecond),
		(model.Now() - s.start).Round(time.Second), report.Margin.Round(time.Millisecond))
	fmt.Printf("torture: wrongly destroyed %d, missed %d, late %d, leaked %d, options or bytes %d\n",
		report.Count(verdict.Wrong), report.Count(verdict.Missed), report.Count(verdict.Late), len(leaks), len(faults))
	rising := 0
	if s.meter != nil {
		rising = s.meter.judge(report, s.canary.stalled)
	}
	return len(report.Findings) + len(leaks) + len(faults) + rising
}
