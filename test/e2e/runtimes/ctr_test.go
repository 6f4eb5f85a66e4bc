// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
)

// ctr is containerd's own command line with --cni: ctr itself calls the plugins, waits until the container has exited,
// and calls DEL. With --detach nothing calls DEL.
type ctr struct {
	containerd containerd
	running    map[string]*foreground // by name
}

// foreground is a ctr that stays with its container.
type foreground struct {
	cmd    *exec.Cmd
	stderr strings.Builder
	ended  chan struct{}
}

func (c *ctr) start(t *testing.T) {
	t.Helper()
	c.containerd.config, c.running = "containerd-1.6.toml", make(map[string]*foreground)
	c.containerd.launch(t)
	t.Cleanup(func() { c.containerd.end(t, unix.SIGTERM) })
	nstest.Eventually(t, testnode.Patience, "containerd answers", func() bool {
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
	args := []string{"run", "--rm", "--cni", "--cgroup", "/ctr/" + name}
	for key, value := range annotations {
		args = append(args, "--annotation", key+"="+value)
	}
	f := &foreground{ended: make(chan struct{})}
	f.cmd = exec.Command("ctr", append(args, propImage, name, "/prop", "peer")...)
	f.cmd.Stderr = &f.stderr
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(f.ended)
		_ = f.cmd.Wait() // it ends with the exit code of its container
	}()
	p := &pod{name: name, id: "default-" + name}
	nstest.Eventually(t, testnode.Patience, name+" runs, or has failed", func() bool {
		select {
		case <-f.ended:
			return true
		default:
		}
		p.netns = c.netns(t, name)
		return p.netns != ""
	})
	if p.netns == "" {
		return nil, errors.New(f.stderr.String())
	}
	c.running[name] = f
	return p, nil
}

// netns is the path of a container's network namespace, "" unless the container runs.
func (c *ctr) netns(t *testing.T, name string) string {
	t.Helper()
	tasks, err := c.ctr("tasks", "ls")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(tasks) {
		if field := strings.Fields(line); len(field) == 3 && field[0] == name && field[2] == "RUNNING" {
			return fmt.Sprintf("/proc/%s/ns/net", field[1])
		}
	}
	return ""
}

func (c *ctr) remove(t *testing.T, p *pod) {
	t.Helper()
	if _, err := c.ctr("tasks", "kill", "--signal", "SIGTERM", p.name); err != nil {
		t.Error(err)
	}
	f := c.running[p.name]
	select {
	case <-f.ended:
	case <-time.After(testnode.Patience):
		t.Errorf("ctr run %s does not end", p.name)
	}
	if f.stderr.Len() > 0 {
		t.Errorf("ctr run %s says %s", p.name, f.stderr.String())
	}
}

// detachedIsForgotten leaves the reaper to notice the end of a container: ctr calls no DEL for it.
func detachedIsForgotten(t *testing.T, s *site) {
	c, ok := s.runtime.(*ctr)
	if !ok {
		t.Skipf("%s has no such containers", s.name)
	}
	stays := s.run(t, "stays", nil)
	name := s.unique("detached")
	if _, err := c.ctr("run", "--detach", "--cni", "--cgroup", "/ctr/"+name, propImage, name, "/prop", "peer"); err != nil {
		t.Fatal(err)
	}
	p := &pod{name: name, id: "default-" + name, netns: c.netns(t, name)}
	p.connect(t)
	s.awaitDestroyed(p.leak(t, "leak", stays))
	namespaces := s.AwaitStatus().Namespaces
	for _, args := range [][]string{{"tasks", "rm", "--force", name}, {"containers", "rm", name}} {
		if _, err := c.ctr(args...); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(calls(t, p, before, "DEL")); n > 0 || !s.recorded(p) {
		t.Errorf("there were %d DELs", n)
	}
	s.run(t, "next", nil) // whose ADD lets the reaper look at all records
	nstest.Eventually(t, testnode.Patience, "the reaper has forgotten the namespace that is gone", func() bool { return s.AwaitStatus().Namespaces == namespaces })
	if err := s.Store.Delete(p.attachment()); err != nil { // which the reaper does ten minutes later
		t.Fatal(err)
	}
}
