// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/halfclose/halfclose/internal/pacing"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/prober"
)

// askWay is one way to ask.
type askWay struct {
	name string
	ask  func(context.Context, *crowd) (cost, error)
}

// askWays returns all ways. The others are compared with the first.
func askWays() []askWay {
	return []askWay{
		{knownName, func(ctx context.Context, c *crowd) (cost, error) { return byProber(ctx, c, true) }},
		{searchedName, func(ctx context.Context, c *crowd) (cost, error) { return byProber(ctx, c, false) }},
		{scriptName, func(ctx context.Context, c *crowd) (cost, error) { return byScript(ctx, c.subjects, len(c.subjects)) }},
		{scriptsName, func(ctx context.Context, c *crowd) (cost, error) { return byScript(ctx, c.sample(), 1) }},
		{ssAskName, func(ctx context.Context, c *crowd) (cost, error) { return bySSLook(ctx, c.sample()) }},
	}
}

// sample returns the first n of the sockets.
func (c *crowd) sample() []subject { return c.subjects[:min(sampled, len(c.subjects))] }

// asker is a running prober.
type asker struct {
	*prober.Prober
	answers chan []prober.Answer
	stop    func() error
}

// startProber starts a prober with this rate and budget; 0 is the default.
func startProber(ctx context.Context, perSecond int, budget float64) (*asker, error) {
	dir, err := os.MkdirTemp(runDir, "asked-")
	if err != nil {
		return nil, err
	}
	clock, err := monotime.System()
	if err != nil {
		return nil, err
	}
	root, err := netns.NewRoot("")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	a := &asker{answers: make(chan []prober.Answer)}
	a.Prober, err = prober.New(prober.Config{
		Dir: dir, Opener: finder.Opener{Root: root}, Clock: clock, MaxPerSecond: perSecond, Budget: budget,
		Answered: func(all []prober.Answer) {
			select {
			case a.answers <- all:
			case <-ctx.Done():
			}
		},
	})
	if err != nil {
		cancel()
		root.Close()
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	a.stop = func() error {
		cancel()
		err := <-ended
		root.Close()
		return err
	}
	return a, nil
}

// byProber asks about all sockets with a prober without limits, and checks that each peer has answered.
func byProber(ctx context.Context, c *crowd, known bool) (_ cost, err error) {
	a, err := startProber(ctx, 1_000_000, 100)
	if err != nil {
		return cost{}, err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	list := questions(c.subjects, known)
	late := time.After(patience)
	began := self()
	a.Ask(list)
	for left := len(list); left > 0; {
		select {
		case answers := <-a.answers:
			left -= len(answers)
			if err := allAlive(answers); err != nil {
				return cost{}, err
			}
		case <-late:
			return cost{}, fmt.Errorf("%d peers have not answered within %v", left, patience)
		case <-ctx.Done():
			return cost{}, ctx.Err()
		}
	}
	return cost{sockets: len(list), cpu: self() - began}, nil
}

// allAlive returns an error unless each answer is that the peer is alive.
func allAlive(answers []prober.Answer) error {
	for _, a := range answers {
		if a.Result != prober.Alive {
			return fmt.Errorf("the answer is %v %v (%w), want alive", a.Result, a.Obstacle, a.Err)
		}
	}
	return nil
}

// measureBudget asks about all sockets repeatedly, with the reaper's default limits. It excludes the time in which the
// prober spends the budget that has accumulated while it was idle.
func (r *Ask) measureBudget(ctx context.Context, o options, subjects []subject) (err error) {
	span, before := 30*time.Second, pacing.BurstWindow+5*time.Second
	if o.short {
		span, before = 3*time.Second, time.Second
	}
	progress("asking about %d sockets without a pause for %v", len(subjects), before+span)
	a, err := startProber(ctx, 0, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	list := questions(subjects, false)
	a.Ask(list)
	if _, err := a.askAgain(ctx, list, before); err != nil {
		return err
	}
	began, process, jobs := time.Now(), self(), a.Stats().CPU
	if r.Answers, err = a.askAgain(ctx, list, span); err != nil {
		return err
	}
	r.Seconds = time.Since(began).Seconds()
	r.Budget, r.Used, r.Process = prober.DefaultBudget, (a.Stats().CPU-jobs).Seconds()/r.Seconds, (self()-process).Seconds()/r.Seconds
	return nil
}

// askAgain repeats each question when it is answered, and counts the answers.
func (a *asker) askAgain(ctx context.Context, list []prober.Question, span time.Duration) (n int, err error) {
	for end := time.After(span); ; {
		select {
		case answers := <-a.answers:
			if err := allAlive(answers); err != nil {
				return n, err
			}
			n += len(answers)
			again := make([]prober.Question, len(answers))
			for i := range answers {
				again[i] = list[answers[i].Question.Tag]
			}
			a.Ask(again)
		case <-end:
			return n, nil
		case <-ctx.Done():
			return n, ctx.Err()
		}
	}
}

// askScript is a script that an operator could write. It reads PID and descriptor of each socket, and prints the number of
// peers that have answered.
const askScript = `
import ctypes, os, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
T = socket.IPPROTO_TCP
KEEPALIVE, USER_TIMEOUT = (socket.SOL_SOCKET, socket.SO_KEEPALIVE), (T, socket.TCP_USER_TIMEOUT)
IDLE, INTVL, CNT = (T, socket.TCP_KEEPIDLE), (T, socket.TCP_KEEPINTVL), (T, socket.TCP_KEEPCNT)
options, arm = (KEEPALIVE, IDLE, INTVL, CNT, USER_TIMEOUT), ((INTVL, 10), (CNT, 6), (USER_TIMEOUT, 0), (KEEPALIVE, 1), (IDLE, 1))
asked = []
for line in sys.stdin:
    pid, fd = map(int, line.split())
    process = os.pidfd_open(pid)
    copy = libc.syscall(438, process, fd, 0)
    os.close(process)
    if copy < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    s = socket.socket(fileno=copy)
    saved = [s.getsockopt(*o) for o in options]
    for option, value in arm:
        s.setsockopt(*option, value)
    asked.append((s, saved, time.monotonic()))
alive, late = 0, time.monotonic() + 10
while asked and time.monotonic() < late:
    time.sleep(0.05)
    left = []
    for s, saved, at in asked:
        ago = struct.unpack_from("I", s.getsockopt(T, socket.TCP_INFO, 104), 56)[0]
        if ago > (time.monotonic() - at) * 1000 + 10: # a tick of the kernel's clock, at most
            left.append((s, saved, at))
            continue
        alive += 1
        for option, value in zip(options, saved):
            s.setsockopt(*option, value)
        s.close()
    asked = left
print(alive)
`

// byScript runs the script with this number of sockets at a time.
func byScript(ctx context.Context, subjects []subject, each int) (cost, error) {
	began := children()
	for from := 0; from < len(subjects); from += each {
		some := subjects[from:min(from+each, len(subjects))]
		var in strings.Builder
		for _, s := range some {
			fmt.Fprintln(&in, s.pid, s.fd)
		}
		cmd := exec.CommandContext(ctx, "python3", "-c", askScript)
		cmd.Stdin, cmd.Stderr = strings.NewReader(in.String()), os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return cost{}, fmt.Errorf("run python3: %w", err)
		}
		if got := string(bytes.TrimSpace(out)); got != fmt.Sprint(len(some)) {
			return cost{}, fmt.Errorf("%s peers have answered, want %d", got, len(some))
		}
	}
	return cost{sockets: len(subjects), cpu: children() - began}, nil
}

// bySSLook runs ss for each socket.
func bySSLook(ctx context.Context, subjects []subject) (cost, error) {
	began := children()
	for _, s := range subjects {
		cmd := exec.CommandContext(ctx, "nsenter", "--net="+s.netns.Paths[0], "ss", "-Htnoi", "src", s.socket.ID.Local().String(), "dst", s.socket.ID.Peer().String())
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return cost{}, fmt.Errorf("run ss: %w", err)
		}
		if !bytes.HasPrefix(out, []byte("CLOSE-WAIT")) {
			return cost{}, fmt.Errorf("ss printed %q", out)
		}
	}
	return cost{sockets: len(subjects), cpu: children() - began}, nil
}
