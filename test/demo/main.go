// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command demo shows halfclose at work on a node of its own: containers with half-closed connections between them, which of
// these are destroyed and which are kept. It checks every statement that it prints, and exits 1 at the first that is wrong.
//
// Run it from the top of the repository, after "make build cni-plugins".
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/halfclose/halfclose/test/node"
	"github.com/halfclose/halfclose/test/peer"
)

// peerArg is the argument with which this program is the process of a container.
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

// peerMain runs a peer until EOF on its stdin.
func peerMain(name string) error {
	p, err := peer.Listen(name)
	if err != nil {
		return err
	}
	return p.Serve(os.Stdin, os.Stdout)
}

// run runs the demo on a node, with the programs in bin: the command, and in cni the plugins.
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
		Before: func() error { before = readHost(); return needed(bin) },
		Run:    func() int { return show(node.BinDir) },
		After: func(code int) error {
			if err := before.unchanged(readHost()); err != nil {
				return err
			}
			switch {
			case code == 0:
				fmt.Println("The node is gone, and the host is unchanged.")
				fmt.Println("\nNext: \"sudo bin/halfclose doctor\" checks this machine; docs/install.md has the installation.")
			case code > 128:
				fmt.Fprintln(os.Stderr, "\ndemo: interrupted; the node is gone, and the host is unchanged")
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

// show plays the demo on the node.
func show(bin string) int {
	d, err := newDemo(os.Stdout, bin)
	if err == nil {
		err = d.play(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo: CHECK FAILED:", err)
		return 1
	}
	return 0
}

// needed returns an error if a file is missing, with how to get it.
func needed(bin string) error {
	for _, name := range []string{"halfclose", "cni/halfclose", "cni/halfclose-reaper", "cni/bridge", "cni/host-local", "cni/tuning"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return fmt.Errorf("%w: run make demo, or first make build cni-plugins", err)
		}
	}
	if _, err := os.Stat(conflist); err != nil {
		return fmt.Errorf("%w: run it from the top of the repository", err)
	}
	return nil
}
