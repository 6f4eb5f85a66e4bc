// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command pictures runs halfclose on a node with pods that leak, and writes what a terminal shows of it: one file with
// escape sequences for each picture of the documentation. Pods, sockets and reaper are real; only the pods' programs are this one.
//
// Run it from the top of the repository: scripts/pictures.sh.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/halfclose/halfclose/test/node"
)

// width and height are the size of the terminal.
const (
	width  = 118
	height = 24
)

// leakTime is how long the pods leak before the first picture: GROWTH needs more than a minute.
const leakTime = 100 * time.Second

func main() {
	if len(os.Args) > 1 && os.Args[1] == programArg {
		fmt.Fprintln(os.Stderr, "pictures:", program(os.Args[2:]))
		os.Exit(1)
	}
	out := flag.String("o", "bin/pictures", "the directory to write to")
	flag.Parse()
	if err := os.MkdirAll(*out, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		os.Exit(1)
	}
	os.Exit(run(*out))
}

func run(out string) int {
	top, err := os.Getwd()
	if err == nil {
		out, err = filepath.Abs(out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		return 1
	}
	code, err := node.Run(node.Program{
		Keep: []string{top, out},
		Bin:  filepath.Join(top, "bin"),
		Run: func() int {
			if err := take(context.Background(), out); err != nil {
				fmt.Fprintln(os.Stderr, "pictures:", err)
				return 1
			}
			return 0
		},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
	}
	return code
}

// take sets up the pods, and takes the pictures.
func take(ctx context.Context, out string) error {
	if err := os.Setenv("PATH", node.BinDir+":"+os.Getenv("PATH")); err != nil {
		return err
	}
	cluster, err := newCluster(ctx)
	if err != nil {
		return err
	}
	defer cluster.stop()
	for _, p := range pods {
		if err := cluster.add(ctx, p); err != nil {
			return fmt.Errorf("pod %s/%s: %w", p.namespace, p.name, err)
		}
	}
	select {
	case err := <-cluster.exited:
		return err
	case <-time.After(leakTime):
	}
	return errors.Join(
		picture(filepath.Join(out, "leaks.ansi"), 8, "halfclose", "leaks"),
		picture(filepath.Join(out, "top.ansi"), height, "halfclose", "top"),
	)
}
