// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/owners"
)

// envLetGo makes the test binary a process with a connection. Like a proxy it closes the connection as soon as a call
// on it fails. It prints the error, and then waits for the end of its standard input.
const envLetGo = "HALFCLOSE_TEST_LET_GO"

func letGo() int {
	f := os.NewFile(3, "connection")
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("holds it")
	_, err = conn.Read(make([]byte, 1))
	conn.Close()
	fmt.Println("let go:", err)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// process is a process that owns sockets of a test.
type process struct {
	owners.Process
	output *bufio.Reader
}

// holder starts an idle process in the namespace that owns the connections until the test ends.
func holder(t *testing.T, ns *nstest.NS, conns ...*net.TCPConn) process {
	t.Helper()
	return give(t, ns, exec.Command("cat"), conns...)
}

// letsGo starts a process that closes the connection when a call on it fails.
func letsGo(t *testing.T, ns *nstest.NS, conn *net.TCPConn) process {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), envLetGo+"=1")
	return give(t, ns, cmd, conn)
}

// give starts a process in the namespace that gets the connections as descriptors from 3 on. The test owns them too
// until it closes them.
func give(t *testing.T, ns *nstest.NS, cmd *exec.Cmd, conns ...*net.TCPConn) process {
	t.Helper()
	_, stdout := ns.Start(t, cmd, conns...)
	p := process{owners.Process{PID: cmd.Process.Pid}, bufio.NewReader(stdout)}
	want := filepath.Base(cmd.Path)
	nstest.Eventually(t, patience, "it is called "+want, func() bool {
		p.Command = commandOf(t, p.PID)
		return p.Command == want
	})
	return p
}

// awaitSaid returns the next line of the process's output.
func (p process) awaitSaid(t *testing.T) string {
	t.Helper()
	line, err := p.output.ReadString('\n')
	if err != nil {
		t.Fatalf("process %d: %v", p.PID, err)
	}
	return strings.TrimSpace(line)
}

func commandOf(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(b), "\n")
}

// me is the test's own process.
func me(t *testing.T) owners.Process {
	t.Helper()
	return owners.Process{PID: os.Getpid(), Command: commandOf(t, os.Getpid())}
}
