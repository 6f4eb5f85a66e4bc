// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"errors"
	"fmt"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/test/node"
)

// caller calls plugins. It creates no namespaces and no processes.
type caller interface {
	add(t *testing.T, p *pod, annotations map[string]string) error
	del(t *testing.T, p *pod) error
	verbs
}

// direct is a runtime that only uses a caller: a pod is a named network namespace with a process in it.
type direct struct {
	caller
	processes map[string]*exec.Cmd // by pod
}

func (d *direct) start(t *testing.T) {
	d.processes = make(map[string]*exec.Cmd)
	if s, ok := d.caller.(interface{ start(t *testing.T) }); ok {
		s.start(t)
	}
}

func (d *direct) run(t *testing.T, name string, annotations map[string]string) (*pod, error) {
	t.Helper()
	path, err := node.AddNetns(name)
	if err != nil {
		t.Fatal(err)
	}
	p := &pod{name: name, id: name + "-0123456789abcdef", netns: path}
	if err := d.add(t, p, annotations); err != nil {
		return nil, cleanUp(err, d.del(t, p), node.DeleteNetns(name))
	}
	cmd := node.Command(path, program(t, "prop"), "peer")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.processes[name] = cmd
	return p, nil
}

// cleanUp returns the original error, joined with the errors of the clean-up.
func cleanUp(err error, since ...error) error {
	for _, e := range since {
		if e != nil {
			err = fmt.Errorf("%w, and after that: %w", err, e)
		}
	}
	return err
}

func (d *direct) remove(t *testing.T, p *pod) {
	t.Helper()
	cmd := d.processes[p.name]
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the process of %s: %v", p.name, err)
	}
	if err := errors.Join(d.del(t, p), node.DeleteNetns(p.name)); err != nil {
		t.Errorf("remove %s: %v", p.name, err)
	}
}
