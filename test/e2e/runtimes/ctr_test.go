// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
)

// ctr is containerd's own command line with --cni: plugins are called by ctr itself.
type ctr struct {
	containerd
	pids map[string]int
}

func (c *ctr) start(t *testing.T) {
	t.Helper()
	c.config, c.pids = "containerd-1.6.toml", make(map[string]int)
	c.launch(t)
	t.Cleanup(func() { c.end(t, unix.SIGTERM) })
	nstest.Eventually(t, soon, "containerd answers", func() bool {
		_, err := c.ctr("version")
		return err == nil
	})
	if _, err := c.ctr("images", "import", makePropImage(t)); err != nil {
		t.Fatal(err)
	}
}

func (c *ctr) ctr(args ...string) (string, error) { return try(exec.Command("ctr", args...)) }

func (c *ctr) run(t *testing.T, name string, annotations map[string]string) (*pod, error) {
	t.Helper()
	args := []string{"run", "--detach", "--cni", "--cgroup", "/ctr/" + name}
	for key, value := range annotations {
		args = append(args, "--annotation", key+"="+value)
	}
	if _, err := c.ctr(append(args, propImage, name, "/prop", "peer")...); err != nil {
		_, since := c.ctr("containers", "rm", name)
		return nil, cleanUp(err, since)
	}
	tasks, err := c.ctr("tasks", "ls")
	if err != nil {
		t.Fatal(err)
	}
	p := &pod{name: name, id: "default-" + name}
	for line := range strings.Lines(tasks) {
		if field := strings.Fields(line); len(field) == 3 && field[0] == name {
			if c.pids[name], err = strconv.Atoi(field[1]); err != nil {
				t.Fatal(err)
			}
			p.netns = fmt.Sprintf("/proc/%s/ns/net", field[1])
		}
	}
	if p.netns == "" {
		t.Fatalf("ctr says nothing of %s:\n%s", name, tasks)
	}
	return p, nil
}

func (c *ctr) remove(t *testing.T, p *pod) {
	t.Helper()
	if _, err := c.ctr("tasks", "kill", "--signal", "SIGKILL", p.name); err != nil {
		t.Error(err)
	}
	nstest.Eventually(t, soon, p.name+" has stopped", func() bool {
		out, err := c.ctr("tasks", "ls")
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, p.name+" ") && strings.Contains(line, "STOPPED") {
				return true
			}
		}
		return err != nil
	})
	for _, args := range [][]string{{"tasks", "rm", p.name}, {"containers", "rm", p.name}} {
		if _, err := c.ctr(args...); err != nil {
			t.Error(err)
		}
	}
}
