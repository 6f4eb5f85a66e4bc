// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/state"
)

// sibling is the reaper of a state directory. Its program is in the plugin's own directory.
type sibling struct{ store *state.Store }

// Running implements starter.
func (s sibling) Running() bool { return launch.Running(s.store.SocketPath()) }

// Find implements starter.
func (s sibling) Find() (program, error) {
	if err := launch.CheckStateDir(s.store.Dir()); err != nil {
		return nil, err
	}
	p, err := launch.Sibling()
	if err != nil {
		return nil, err
	}
	return found{p, launch.Config{StateDir: s.store.Dir()}}, nil
}

// found is the reaper's program with its configuration.
type found struct {
	*launch.Program
	config launch.Config
}

// Start implements program.
func (f found) Start() error { return f.Program.Start(f.config) }

// describe prints what this program is and where the command is, for a person who runs it without CNI_COMMAND.
// buildinfo.ParsePlugin reads the first line.
func describe(w io.Writer, find func() (*launch.Program, error)) {
	fmt.Fprintln(w, buildinfo.Get().PluginLine())
	fmt.Fprintf(w, "Container runtimes run it with CNI_COMMAND set. It supports versions %s of the CNI specification.\n",
		strings.Join(spec.Versions(), ", "))
	p, err := find()
	if err != nil {
		fmt.Fprintf(w, "The reaper and the command line are another program, halfclose. ADD cannot start it as the reaper: %v\n", err)
		return
	}
	defer p.Close()
	fmt.Fprintf(w, "The reaper and the command line are another program, which ADD starts as the reaper: %s\n", p.Path())
}
