// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command demo shows halfclose at work on a node of its own: two containers, half-closed connections
// between them, what is destroyed and what is spared. It checks all that it says, and exits 1 at the first
// thing that is not so.
//
// It is run from the top of the repository, after "make build cni-plugins".
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/halfclose/halfclose/test/node"
	"github.com/halfclose/halfclose/test/peer"
)

// peerArg makes this program the process of a container.
const peerArg = "peer"

func main() {
	if len(os.Args) == 3 && os.Args[1] == peerArg {
		if err := peerMain(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "demo peer:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(run("bin"))
}

// peerMain runs a peer until its stdin ends.
func peerMain(name string) error {
	p, err := peer.Listen(name)
	if err != nil {
		return err
	}
	return p.Serve(os.Stdin, os.Stdout)
}

// run makes the node and runs the demo on it, with the programs in bin: the command, and in cni the plugins.
func run(bin string) int {
	top, err := os.Getwd()
	if err == nil {
		bin, err = filepath.Abs(bin)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	var before host
	code, err := node.Run(node.Program{
		Keep:   []string{top},
		Bin:    bin,
		Before: func() error { before = lookAtHost(); return needed(bin) },
		Run:    func() int { return show(node.BinDir) },
		After: func(code int) error {
			if err := before.unchanged(lookAtHost()); err != nil {
				return err
			}
			switch {
			case code == 0:
				fmt.Println("The node is gone, and the host is as it was.")
			case code > 128:
				fmt.Fprintln(os.Stderr, "\ndemo: interrupted; the node is gone, and the host is as it was")
			}
			return nil
		},
	})
	switch {
	case node.Denied(err):
		fmt.Fprintf(os.Stderr, "demo: %v: run it as root, or let users make namespaces (sysctl user.max_user_namespaces)\n", err)
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
	}
	return code
}

// show is the demo, on the node.
func show(bin string) int {
	d, err := newDemo(os.Stdout, bin)
	if err == nil {
		err = d.play(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo: NOT AS TOLD:", err)
		return 1
	}
	return 0
}

// needed says what is not there and how to get it.
func needed(bin string) error {
	for _, name := range []string{"halfclose", "cni/halfclose", "cni/halfclose-reaper", "cni/bridge", "cni/host-local", "cni/tuning"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return fmt.Errorf("%w: run make demo, or make build cni-plugins before", err)
		}
	}
	if _, err := os.Stat(conflist); err != nil {
		return fmt.Errorf("%w: run it from the top of the repository", err)
	}
	return nil
}
