// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package judgement_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/test/node"
	"github.com/halfclose/halfclose/test/peer"
)

// top is the repository.
const top = "../.."

// parallelTests is the number of parallel tests: they mostly wait for patiences to pass. Each has a reaper, and a user
// may have 128 inotify instances (fs.inotify.max_user_instances).
const parallelTests = "32"

// envRole makes this test binary another process with a role in a test.
const envRole = "_HALFCLOSE_JUDGEMENT_ROLE"

// The roles, followed by their arguments on the command line.
const (
	rolePeer     = "peer"     // NAME: executes commands on connections that it inherits
	roleConfined = "confined" // LIMIT PROGRAM ARGUMENT...: executes a program under a limit
)

var (
	bin       string // the directory from node.Build; set once, before the tests run
	bpfDenied error  // why no BPF program can be loaded here; set once, before the tests run
)

func TestMain(m *testing.M) {
	role := os.Getenv(envRole)
	if role != "" {
		if err := play(role, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		if err := flag.Set("test.parallel", parallelTests); err != nil {
			panic(err)
		}
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "judgement:", err)
		code = 1
	}
	os.Exit(code)
}

func play(role string, args []string) error {
	if err := os.Unsetenv(envRole); err != nil {
		return err
	}
	switch role {
	case rolePeer:
		p, err := peer.New(args[0])
		if err != nil {
			return err
		}
		return p.Serve(os.Stdin, os.Stdout)
	case roleConfined:
		return confined(args[0], args[1:])
	}
	return fmt.Errorf("there is no role %q", role)
}

// run builds the programs under test and runs the tests.
func run(m *testing.M) (code int, err error) {
	if bin, err = os.MkdirTemp("", "halfclose-judgement"); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(bin)) }()
	if err := node.Build(top, bin); err != nil {
		return 1, err
	}
	p, err := bpf.Load(bpf.Options{MaxSockets: 1})
	if err == nil {
		err = p.Close()
	} else if unsupported, ok := errors.AsType[*bpf.UnsupportedError](err); ok {
		bpfDenied, err = unsupported, nil
	}
	if err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// self is this test's binary.
func self() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

func command() string { return filepath.Join(bin, "halfclose") }

func TestSourcesAreNoted(t *testing.T) {
	if err := node.NoteSources(top, "pkg", "cmd", "plugins"); err != nil {
		t.Error(err)
	}
}
