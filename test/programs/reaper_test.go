// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package programs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/state"
)

// reaper is a reaper that runs during all tests.
type reaper struct {
	finder string
	dir    string // its state directory
	cmd    *exec.Cmd
	exited chan error
	log    *os.File
}

// startReaper starts a reaper with a finder and waits until it answers.
func startReaper(finder string) (*reaper, error) {
	r := &reaper{finder: finder, dir: "/run/programs-" + finder, exited: make(chan error, 1)}
	var err error
	if r.log, err = os.Create(filepath.Join(os.Getenv(madeVar), "log", "reaper-"+finder+".log")); err != nil {
		return nil, err
	}
	r.cmd = exec.Command(filepath.Join(os.Getenv(binVar), "halfclose"), "reaper", "--finder", finder)
	r.cmd.Env = append(os.Environ(), state.EnvDir+"="+r.dir)
	r.cmd.Stdout, r.cmd.Stderr = r.log, r.log
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { r.exited <- r.cmd.Wait() }()
	client := admin.NewClient(state.New(r.dir).SocketPath())
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	for {
		status, err := client.Status(ctx)
		switch {
		case err == nil && status.Finder.Name == finder:
			return r, nil
		case err == nil:
			err = fmt.Errorf("it works with the finder %s: %s", status.Finder.Name, status.Finder.Why)
		}
		select {
		case exit := <-r.exited:
			r.exited <- exit
			return nil, fmt.Errorf("the reaper has exited: %w: its log is %s", exit, r.log.Name())
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("the reaper with the finder %s does not answer: %w", finder, err), r.stop())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop stops the reaper as systemd does.
func (r *reaper) stop() error {
	defer r.log.Close()
	if err := r.cmd.Process.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-r.exited:
		if err != nil {
			return fmt.Errorf("the reaper with the finder %s: %w: its log is %s", r.finder, err, r.log.Name())
		}
		return nil
	case <-time.After(soon):
		return errors.Join(fmt.Errorf("the reaper with the finder %s does not exit", r.finder), r.cmd.Process.Kill())
	}
}

// report returns halfclose's list of the sockets in the namespace that is registered with that name.
func (r *reaper) report(name string) string {
	cmd := exec.Command(filepath.Join(os.Getenv(binVar), "halfclose"), "sockets", "--all", "--owners", "--pod", name)
	cmd.Env = append(os.Environ(), state.EnvDir+"="+r.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s%v", out, err)
	}
	return string(out)
}

// run runs a command of halfclose on the reaper's state directory.
func (r *reaper) run(args ...string) error {
	cmd := exec.Command(filepath.Join(os.Getenv(binVar), "halfclose"), args...)
	cmd.Env = append(os.Environ(), state.EnvDir+"="+r.dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("halfclose %q: %w: %s", args, err, bytes.TrimSpace(out))
	}
	return nil
}
