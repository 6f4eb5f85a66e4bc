// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/containernetworking/cni/libcni"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// conflist is the shipped conflist, used unchanged. bridge is the link that it creates on the node.
const (
	conflist = "deploy/cni/10-halfclose.conflist"
	bridge   = "pods0"
)

// demo is one run of the demo.
type demo struct {
	out            io.Writer
	binary         string // the command
	cni            *libcni.CNIConfig
	network        *libcni.NetworkConfigList
	store          *state.Store
	reaper         *admin.Client
	policy         policy.Policy // the network's
	client, server *container
	app, web       *container                // the containers of act 7, which asks peers
	connected      map[string]netip.AddrPort // the client's end of each connection
	shown          int                       // entries of the history that have been printed
}

// newDemo prepares a demo with the programs in bin: the command, and in cni the plugins.
func newDemo(out io.Writer, bin string) (*demo, error) {
	network, err := libcni.NetworkConfFromFile(conflist)
	if err != nil {
		return nil, err
	}
	parsed, problems := policy.ParseNetwork(network.Plugins[len(network.Plugins)-1].Bytes)
	if len(problems) > 0 {
		return nil, fmt.Errorf("%s: %w", conflist, problems)
	}
	store := state.New(state.DefaultDir)
	return &demo{
		out: out, binary: filepath.Join(bin, "halfclose"), connected: make(map[string]netip.AddrPort),
		network: network, policy: parsed.Layers(nil).Resolve(time.Second).Policies[0],
		store: store, reaper: admin.NewClient(store.SocketPath()), cni: libcni.NewCNIConfig([]string{filepath.Join(bin, "cni")}, nil),
	}, nil
}

// containers returns the attached containers.
func (d *demo) containers() []*container {
	if d.app == nil {
		return []*container{d.client, d.server}
	}
	return []*container{d.client, d.server, d.app, d.web}
}

// play plays all acts.
func (d *demo) play(ctx context.Context) error {
	for i, act := range []struct {
		title string
		play  func(context.Context) error
	}{
		{"Two containers on a node", d.attach},
		{"Connections between them, some of them half-closed", d.connect},
		{"What halfclose sees, and what it will do", d.showVerdicts},
		{"The graces expire", d.wait},
		{"What is kept, and why", d.left},
		{"What the applications notice", d.owners},
		{"Two connections that look alike: halfclose asks their peers", d.ask},
		{"The containers are removed", d.detach},
	} {
		fmt.Fprintf(d.out, "\n=== %d. %s\n\n", i+1, act.title)
		if err := act.play(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) printf(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// claim is a statement that the demo prints, and the error of its check.
type claim struct {
	text  string
	wrong error
}

// check prints the claims up to the first that is wrong, and returns its error.
func (d *demo) check(claims ...claim) error {
	for _, c := range claims {
		if c.wrong != nil {
			return fmt.Errorf("%s: %w", c.text, c.wrong)
		}
		d.printf("  ok  %s", c.text)
	}
	return nil
}

// want returns an error unless got equals want.
func want[T comparable](want, got T) error {
	if got != want {
		return fmt.Errorf("want %v, got %v", want, got)
	}
	return nil
}

// show runs a command, and prints the command line and its output.
func (d *demo) show(cmd *exec.Cmd) error {
	shown := append([]string{filepath.Base(cmd.Path)}, cmd.Args[1:]...)
	d.printf("$ %s", strings.Join(shown, " "))
	out, err := output(cmd)
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		d.printf("%s", strings.TrimRight("    "+line, " \n"))
	}
	d.printf("")
	return nil
}

// output runs a command and returns its stdout.
func output(cmd *exec.Cmd) (string, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("run %s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), nil
}

// halfclose prepares the command line under demonstration.
func (d *demo) halfclose(args ...string) *exec.Cmd {
	return exec.Command(d.binary, args...)
}

// gone returns an error if path exists.
func gone(path string) error {
	switch _, err := os.Lstat(path); {
	case err == nil:
		return fmt.Errorf("%s still exists", path)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return nil
}
