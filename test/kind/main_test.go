// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package kind tests halfclose on a Kubernetes cluster of two nodes that kind creates: the shipped chart with the shipped
// image, and pods that leak beside pods that do not.
//
// "make e2e-kind" builds the dependencies and runs the tests. Without a Docker the tests start one on their own node
// (package node), so that its mounts, links, rules and processes are gone with the node.
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
	// needsVar is an environment variable with the directory of the dependencies that scripts/e2e-kind.sh has built.
	needsVar = "E2E_KIND_NEEDS"
	// dockerVar is an environment variable with the data directory of the Docker that the tests start. It is empty if a
	// Docker is given.
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
			host, err = readHost()
			return err
		},
		After:   func(int) error { return host.restore() },
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

// deleteWhenInterrupted deletes the cluster from a given Docker when a signal kills the tests.
func deleteWhenInterrupted() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	go func() {
		<-signals
		cmd := exec.Command(filepath.Join(os.Getenv(needsVar), "kind"), "delete", "cluster", "--name", name)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		_ = cmd.Run() // it prints its errors
		os.Exit(1)
	}()
}

// host has the original state of what a cluster changes on the machine although it is in namespaces.
type host struct {
	sysctls map[string]string
	modules bool // whether /lib/modules exists: Docker creates it, because kind mounts it
}

// readHost reads the sysctls that a node sets: a kubelet those of k8s.io/component-helpers/node/util/sysctl, and systemd
// the last one.
func readHost() (host, error) {
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

// restore restores the sysctls, and removes /lib/modules if it did not exist.
func (h host) restore() error {
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

// need returns the path of a dependency of the tests. Without dependencies the test is skipped.
func need(t *testing.T, name string) string {
	t.Helper()
	needs := os.Getenv(needsVar)
	if needs == "" {
		t.Skip("a cluster needs dependencies that make e2e-kind builds: run make e2e-kind")
	}
	return filepath.Join(needs, name)
}
