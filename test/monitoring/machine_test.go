// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package monitoring_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/state"
)

// machine is a node: a reaper with a state directory of its own.
type machine struct {
	dir     string
	address string   // of its metrics
	before  []string // the command that starts the reaper, such as nsenter with its arguments
	flags   []string
}

// newMachine returns a machine whose reaper does not run yet.
func newMachine(t *testing.T, address string, flags ...string) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "hc") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	return &machine{dir: dir, address: address, flags: flags}
}

// binary is the path of the command, and pluginDir the directory of the plugin.
func binary() string    { return filepath.Join(os.Getenv(binVar), "halfclose") }
func pluginDir() string { return filepath.Join(os.Getenv(binVar), "cni") }

func (m *machine) env() []string { return append(os.Environ(), state.EnvDir+"="+m.dir) }

// start starts the reaper and waits until it is ready. The function that it returns kills it; so does the end of the test.
func (m *machine) start(t *testing.T) (end func()) {
	t.Helper()
	args := append(slices.Clip(m.before), binary(), "reaper", "--log-level=warn", "--metrics-address="+m.address)
	args = append(args, m.flags...)
	cmd := exec.Command(args[0], args[1:]...)
	var log bytes.Buffer
	cmd.Env, cmd.Stderr = m.env(), &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed
	}()
	end = func() {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
	}
	t.Cleanup(func() {
		end()
		if t.Failed() {
			t.Logf("the reaper at %s says:\n%s", m.address, log.String())
		}
	})
	nstest.Eventually(t, soon, "the reaper at "+m.address+" works", func() bool {
		select {
		case <-ended:
			t.Fatalf("the reaper at %s ended: %v", m.address, cmd.ProcessState)
		default:
		}
		resp, err := http.Get("http://" + m.address + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return end
}

// add creates a network namespace and registers it.
func (m *machine) add(t *testing.T, podNamespace, pod, keys string) *nstest.NS {
	t.Helper()
	ns := nstest.New(t)
	m.register(t, ns.Path(), podNamespace, pod, keys)
	return ns
}

// register registers a network namespace as a runtime does, with these keys in the conflist.
func (m *machine) register(t *testing.T, netns, podNamespace, pod, keys string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(pluginDir(), "halfclose"))
	cmd.Env = append(m.env(), "CNI_COMMAND=ADD", "CNI_CONTAINERID="+pod+"-0123456789", "CNI_IFNAME=eth0", "CNI_NETNS="+netns,
		"CNI_PATH="+pluginDir(), "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE="+podNamespace+";K8S_POD_NAME="+pod)
	cmd.Stdin = bytes.NewBufferString(`{"cniVersion": "1.0.0", "name": "pods", "type": "halfclose", "reaper": "external",
		"prevResult": {"cniVersion": "1.0.0"}, ` + keys + `}`)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ADD %s: %v\n%s", pod, err, out)
	}
}

// figure returns the sum of the series of a metric, 0 if there are none yet.
func (m *machine) figure(t *testing.T, name string) float64 {
	t.Helper()
	resp, err := http.Get("http://" + m.address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, found := range regexp.MustCompile(`(?m)^`+name+`(?:\{[^}]*\})? (.+)$`).FindAllSubmatch(b, -1) {
		f, err := strconv.ParseFloat(string(found[1]), 64)
		if err != nil {
			t.Fatalf("%s: %v in\n%s", name, err, b)
		}
		sum += f
	}
	return sum
}

// tooSmallBudget measures the cost of the first sweeps, and returns the flag of a CPU budget that allows one of them in
// 6 s. Three network namespaces need three sweeps a second, so each is late, also if later sweeps cost a tenth.
func (m *machine) tooSmallBudget(t *testing.T) string {
	t.Helper()
	end := m.start(t)
	defer end()
	const sweeps = "halfclose_sweep_duration_seconds_count"
	nstest.Eventually(t, soon, "six sweeps", func() bool { return m.figure(t, sweeps) >= 6 })
	each := m.figure(t, "halfclose_sweep_cpu_seconds_total") / m.figure(t, sweeps)
	return fmt.Sprintf("--cpu-budget=%f%%", 100*each/6)
}

// refused returns a machine on which the kernel refuses destroys. Its reaper has CAP_NET_ADMIN only in a user namespace,
// which owns the network namespace that the reaper runs in: there its test at start succeeds.
func refused(t *testing.T) *machine {
	t.Helper()
	holder := exec.Command("sleep", "infinity")
	holder.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = holder.Process.Kill()
		_ = holder.Wait() // it was killed
	})
	pid := strconv.Itoa(holder.Process.Pid)
	inside := []string{"nsenter", "--net=/proc/" + pid + "/ns/net"}
	for _, command := range [][]string{
		{"ip", "link", "add", "mon0", "type", "veth", "peer", "name", "mon0", "netns", pid},
		{"ip", "address", "add", nstest.LinkA + "/24", "dev", "mon0"},
		{"ip", "link", "set", "mon0", "up"},
		append(inside, "ip", "address", "add", nstest.LinkB+"/24", "dev", "mon0"),
		append(inside, "ip", "link", "set", "mon0", "up"),
		append(inside, "ip", "link", "set", "lo", "up"),
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", command, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "link", "delete", "mon0").CombinedOutput(); err != nil {
			t.Errorf("ip link delete mon0: %v\n%s", err, out)
		}
	})
	m := newMachine(t, nstest.LinkB+":20470")
	m.before = append(inside, "setpriv", "--bounding-set=-net_admin")
	return m
}
