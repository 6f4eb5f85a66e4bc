// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package kind tests halfclose on a real Kubernetes cluster of two nodes, made by kind: the chart that is
// shipped, with the image that is shipped, and pods that leak beside pods that do not.
//
// "make e2e-kind" builds what the tests need and runs them. Where no Docker is given they start one, on a node of
// their own (package node), so that what it does to mounts, links, rules and processes goes with it.
package kind_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/test/node"
)

const (
	// top is the repository.
	top = "../.."
	// needsVar names, in the environment, the directory of what the tests need, as scripts/e2e-kind.sh makes it.
	needsVar = "E2E_KIND_NEEDS"
	// dockerVar is set, in the environment, if there is no Docker and the tests shall start one, which keeps
	// its data in this directory.
	dockerVar = "E2E_KIND_DOCKER"
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	needs, docker := os.Getenv(needsVar), os.Getenv(dockerVar)
	switch {
	case needs == "":
		return m.Run()
	case docker == "":
		deleteWhenInterrupted()
		return m.Run()
	}
	var host host
	code, err := node.Run(node.Program{
		Before: func() (err error) {
			host, err = remember()
			return err
		},
		After:   func(int) error { return host.putBack() },
		Run:     m.Run,
		Cgroups: true,
		Keep:    []string{top, needs, docker},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "kind:", err)
		code = 1
	}
	return code
}

// deleteWhenInterrupted takes the cluster out of a given Docker when a signal ends the tests.
func deleteWhenInterrupted() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	go func() {
		<-signals
		cmd := exec.Command(filepath.Join(os.Getenv(needsVar), "kind"), "delete", "cluster", "--name", name)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		_ = cmd.Run() // which says what went wrong
		os.Exit(1)
	}()
}

// host is what a cluster changes of the machine whatever namespaces it is in, as it was.
type host struct {
	sysctls map[string]string
	modules bool // whether there is /lib/modules, which kind mounts and Docker makes for that
}

// remember reads what a node sets: a kubelet the sysctls of k8s.io/component-helpers/node/util/sysctl, and systemd the
// last one.
func remember() (host, error) {
	h := host{sysctls: map[string]string{}}
	for _, name := range []string{
		"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
		"fs/file-max",
	} {
		b, err := os.ReadFile("/proc/sys/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return host{}, err
		}
		h.sysctls[name] = string(b)
	}
	_, err := os.Stat("/lib/modules")
	h.modules = err == nil
	return h, nil
}

// putBack makes it so again.
func (h host) putBack() error {
	var errs []error
	for name, value := range h.sysctls {
		errs = append(errs, os.WriteFile("/proc/sys/"+name, []byte(value), 0))
	}
	if !h.modules {
		if err := os.Remove("/lib/modules"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// need returns the path of something that the tests need, and skips the test where nobody has made it.
func need(t *testing.T, name string) string {
	t.Helper()
	needs := os.Getenv(needsVar)
	if needs == "" {
		t.Skip("a cluster takes what scripts/e2e-kind.sh makes: run make e2e-kind")
	}
	return filepath.Join(needs, name)
}
