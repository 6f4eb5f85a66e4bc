// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/state"
)

// sibling starts the program beside the plugin as the reaper of a state directory.
type sibling struct{ store *state.Store }

// HasSocket implements starter.
func (s sibling) HasSocket() bool {
	return unix.Faccessat(unix.AT_FDCWD, s.store.SocketPath(), unix.F_OK, unix.AT_SYMLINK_NOFOLLOW) == nil
}

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

// found is the program beside the plugin.
type found struct {
	*launch.Program
	config launch.Config
}

// Start implements program.
func (f found) Start() error { return f.Program.Start(f.config) }

// describe says what this program is, for a person who runs it, and where the command is. The first line is for
// programs: buildinfo.ParsePlugin reads it.
func describe(w io.Writer, find func() (*launch.Program, error)) {
	fmt.Fprintln(w, buildinfo.Get().PluginLine())
	fmt.Fprintf(w, "Container runtimes call it, with CNI_COMMAND set. It speaks versions %s of the CNI specification.\n",
		strings.Join(spec.Versions(), ", "))
	p, err := find()
	if err != nil {
		fmt.Fprintf(w, "The command is a program of its own, halfclose. ADD does not start it as the reaper: %v\n", err)
		return
	}
	defer p.Close()
	fmt.Fprintf(w, "The command is a program of its own, which ADD starts as the reaper: %s\n", p.Path())
}
