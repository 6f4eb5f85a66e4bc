// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/test/kernels/plan"
	"github.com/halfclose/halfclose/test/node"
)

// reportPort is the serial port of the events. The first is the kernel's console.
const reportPort = "/dev/ttyS1"

// run runs the steps and reports them.
func run() error {
	report, err := openPort(reportPort)
	if err != nil {
		return err
	}
	defer report.Close()
	r := reporter{json.NewEncoder(report)}
	text, err := os.ReadFile(plan.Path)
	if err != nil {
		return err
	}
	var p plan.Plan
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	if err := node.SetLoopbackUp(); err != nil {
		return err
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return err
	}
	r.report(plan.Event{Kind: plan.Booted, Text: strings.TrimSpace(string(release))})
	loaded := make(map[string]bool)
	for _, s := range p.Steps {
		r.loadModules(loaded, s.Without)
		r.runStep(s)
	}
	r.report(plan.Event{Kind: plan.Finished})
	return nil
}

// openPort opens a serial port that passes each byte as it is.
func openPort(path string) (*os.File, error) {
	port, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	mode, err := unix.IoctlGetTermios(int(port.Fd()), unix.TCGETS)
	if err == nil {
		mode.Iflag, mode.Oflag, mode.Lflag = 0, 0, 0
		err = unix.IoctlSetTermios(int(port.Fd()), unix.TCSETS, mode)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set %s to raw mode: %w", path, err), port.Close())
	}
	return port, nil
}

type reporter struct{ to *json.Encoder }

func (r reporter) report(e plan.Event) {
	if err := r.to.Encode(e); err != nil {
		fmt.Fprintln(os.Stderr, "guest: report:", err)
	}
}

// loadModules loads the modules that are not loaded yet, except those in without. A module that needs one of these is not loaded either.
func (r reporter) loadModules(loaded map[string]bool, without []string) {
	files, err := filepath.Glob(plan.Modules + "/*.ko")
	if err != nil {
		r.report(plan.Event{Kind: plan.NotLoaded, Text: err.Error()})
	}
	slices.Sort(files)
	for _, path := range files {
		name := moduleName(path)
		if loaded[name] || slices.Contains(without, name) {
			continue
		}
		err := load(path)
		switch {
		case err == nil || errors.Is(err, unix.EEXIST):
			loaded[name] = true
		case len(without) > 0 && errors.Is(err, unix.ENOENT): // it needs one of without
		default:
			r.report(plan.Event{Kind: plan.NotLoaded, Text: fmt.Sprintf("%s: %v", name, err)})
		}
	}
}

// moduleName returns inet_diag for /modules/10-inet_diag.ko.
func moduleName(path string) string {
	_, name, _ := strings.Cut(strings.TrimSuffix(filepath.Base(path), ".ko"), "-")
	return name
}

func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0)
}

// runStep runs a program, and reports its output by line.
func (r reporter) runStep(s plan.Step) {
	r.report(plan.Event{Kind: plan.Started, Step: s.Name})
	end := plan.Event{Kind: plan.Ended, Step: s.Name, Exit: -1}
	defer func() { r.report(end) }()
	output, writer, err := os.Pipe()
	if err != nil {
		end.Text = err.Error()
		return
	}
	cmd := exec.Command(s.Args[0], s.Args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, writer, writer
	cmd.Env = append([]string{"PATH=/usr/bin:/usr/sbin", "HOME=/root", "CI=true"}, s.Env...)
	err = cmd.Start()
	writer.Close()
	if err != nil {
		output.Close()
		end.Text = err.Error()
		return
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		r.copyLines(s.Name, output)
	}()
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = nil
		if !exit.Exited() {
			end.Text = exit.String()
		}
	}
	if err != nil {
		end.Text = err.Error()
	} else {
		end.Exit = cmd.ProcessState.ExitCode()
	}
	// A process that the program has left behind may keep the pipe open: its output is not the program's.
	_ = output.SetReadDeadline(time.Now().Add(time.Second))
	<-copied
	output.Close()
}

// copyLines reports each line of a step's output.
func (r reporter) copyLines(step string, from io.Reader) {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			r.report(plan.Event{Kind: plan.Output, Step: step, Text: strings.TrimSuffix(line, "\n")})
		}
		if err != nil {
			return
		}
	}
}
