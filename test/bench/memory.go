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
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// Memory is the memory of a reaper with many candidates, in MiB.
type Memory struct {
	Finder     string  `json:"finder"`
	Namespaces int     `json:"namespaces"`
	Candidates int     `json:"candidates"`
	Median     float64 `json:"medianRSSMebibytes"`
	Largest    float64 `json:"largestRSSMebibytes"`
	// Anonymous is the part of the median that is not mapped from the binary.
	Anonymous float64 `json:"medianAnonymousMebibytes"`
	// Kernel is the kernel memory of the finder's maps, with capacity for Room sockets.
	Kernel float64 `json:"kernelMebibytes,omitempty"`
	Room   int     `json:"room,omitempty"`
}

// measureMemory runs the real reaper on a node whose half-closed sockets never reach their grace.
func measureMemory(ctx context.Context, o options, nd *netnsSet, name string) (*Memory, error) {
	watch, namespaces := 40*time.Second, 250
	if o.short {
		watch, namespaces = 12*time.Second, len(nd.names)
	}
	if err := nd.fill(0, len(nd.names), perNamespace()); err != nil {
		return nil, err
	}
	progress("watching the memory of a reaper with %d candidates for %v, with the finder %s", namespaces*perNamespace().halfClosed(), watch, name)
	store := state.New(filepath.Join(runDir, "memory-"+name))
	p := policy.Default()
	// The sweeps come every 30 s, so the measurement includes sweeping and saving, and no socket becomes due.
	p.CloseWaitGrace, p.FinWait2Grace = policy.Patience(2*time.Minute), policy.Patience(2*time.Minute)
	if err := record(store, nd.targets[:namespaces], p); err != nil {
		return nil, err
	}
	cmd, err := startReaper(o, store, "--finder", name)
	if err != nil {
		return nil, err
	}
	m := &Memory{Finder: name, Namespaces: namespaces, Candidates: namespaces * perNamespace().halfClosed()}
	err = m.watch(ctx, cmd.Process.Pid, store, watch)
	if name == finder.NameBPF && err == nil {
		m.Kernel, m.Room, err = room()
	}
	if err = errors.Join(err, endReaper(cmd)); err != nil {
		return nil, err
	}
	return m, nil
}

// watch samples the memory of a process for this time, after it knows all candidates.
func (m *Memory) watch(ctx context.Context, pid int, store *state.Store, long time.Duration) error {
	if err := awaitCandidates(ctx, store, m.Candidates); err != nil {
		return err
	}
	var rss, anonymous []int
	for end := time.Now().Add(long); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		s, err := readMemory(pid)
		if err != nil {
			return err
		}
		rss, anonymous = append(rss, s["VmRSS"]), append(anonymous, s["RssAnon"])
		m.Largest = float64(s["VmHWM"]) / 1024
	}
	m.Median, m.Anonymous = float64(median(rss))/1024, float64(median(anonymous))/1024
	// All candidates must still exist: destroyed ones would use no memory.
	return awaitCandidates(ctx, store, m.Candidates)
}

// startReaper starts the real reaper with a whole core for its sweeps. It logs warnings only.
func startReaper(o options, store *state.Store, flags ...string) (*exec.Cmd, error) {
	args := []string{"reaper", "--state-dir", store.Dir(), "--cpu-budget", "100", "--log-level", "warn"}
	cmd := exec.Command(o.halfclose, append(args, flags...)...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the reaper: %w", err)
	}
	return cmd, nil
}

func endReaper(cmd *exec.Cmd) error {
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("end the reaper: %w", err)
	}
	return nil
}

// awaitCandidates waits until the reaper has this number of candidates.
func awaitCandidates(ctx context.Context, store *state.Store, want int) error {
	client := admin.NewClient(store.SocketPath())
	return poll(ctx, 5*patience, time.Second/2, fmt.Sprintf("the reaper knows %d candidates", want), func() (bool, error) {
		status, err := client.Status(ctx)
		n := 0
		for _, count := range status.Candidates {
			n += count
		}
		return err == nil && n == want, nil // no answer: the reaper is starting
	})
}

// readMemory reads the sizes in KiB from /proc/PID/status (proc_pid_status(5)).
func readMemory(pid int) (map[string]int, error) {
	return readSizes(fmt.Sprintf("/proc/%d/status", pid))
}

// readSizes reads the lines of a file that are a name, a colon and a size in KiB.
func readSizes(file string) (map[string]int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	sizes := make(map[string]int)
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[2]) == "kB" {
			n, err := strconv.Atoi(string(f[1]))
			if err != nil {
				return nil, err
			}
			sizes[string(bytes.TrimSuffix(f[0], []byte(":")))] = n
		}
	}
	return sizes, nil
}
